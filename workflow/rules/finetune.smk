"""finetune: trains one LoRA run of the grid with a DeepSpeed engine; the launcher starts it on every rank.

Inputs:  download/models/{model}/, prepare/{task}/{train,dev}.jsonl;
         with `tuning` tuning/{model}/{task}/{optimizer}/choice.json
Outputs: finetune/{model}/{task}/{optimizer}/seed{seed}/run.json and training.jsonl; adapter/ and checkpoints/ beside
         them are not declared: a diverged run has no adapter, and Snakemake would delete the checkpoints before a rerun
Config:  optimizers, budget, lora, training, seeds, tuning
Site:    all
"""

FINETUNED = f"{RESULTS}/finetune/{{model}}/{{task}}/{{optimizer}}/seed{{seed}}"
CHOICE = f"{RESULTS}/tuning/{{model}}/{{task}}/{{optimizer}}/choice.json"


rule finetune:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
        choice=CHOICE if CONFIG.tuned else [],
    output:
        record=f"{FINETUNED}/run.json",
        training=f"{FINETUNED}/training.jsonl",
    log:
        f"{LOGS}/finetune/{{model}}/{{task}}/{{optimizer}}/seed{{seed}}.log",
    benchmark:
        f"{LOGS}/benchmarks/finetune/{{model}}/{{task}}/{{optimizer}}/seed{{seed}}.tsv"
    conda:
        ENVIRONMENT
    threads: lambda wildcards: SITE.layout(wildcards.optimizer, NODES)[1] * SITE.cpus_per_rank
    resources:
        **resources_of("finetune", mem_mb=SITE.mem_mb, runtime=SITE.runtime),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(CONFIG.finetune_settings(grid.Run.of(wildcards))),
        kind="--run",
        place="{model}/{task}/{optimizer}/seed{seed}",
        choice=lambda wildcards, input: f"--choice {shlex.quote(input.choice)}" if CONFIG.tuned else "",
        checkpoints=placed(f"{FINETUNED}/checkpoints"),
    shell:
        "python -m dnatune --log {log:q} launch --nodes {resources.nodes} --ranks {resources.ranks} --cpus {threads}"
        " --state {params.checkpoints:q} finetune --experiment {params.experiment:q} {params.kind} {params.place:q}"
        " {params.choice}"
        " --model {input.model:q} --train {input.train:q} --dev {input.dev:q}"
        " --record {output.record:q} --training-log {output.training:q} --checkpoints {params.checkpoints:q}"
