"""finetune: trains LoRA runs of the grid with a DeepSpeed engine; the launcher starts each on every rank.

Inputs:  download/models/{model}/, prepare/{task}/{train,dev}.jsonl;
         with `tuning` tuning/{model}/{task}/{optimizer}/choice.json
Outputs: finetune/{model}/{task}/{optimizer}/seed{seed}/run.json and training.jsonl; adapter/ and checkpoints/ beside
         them are not declared: a diverged run has no adapter, and Snakemake would delete the checkpoints before a rerun
Config:  optimizers, budget, lora, training, seeds, tuning, runs_per_job
Site:    all
"""

FINETUNED = f"{RESULTS}/finetune/{{model}}/{{task}}/{{optimizer}}/seed{{seed}}"
CHOICE = f"{RESULTS}/tuning/{{model}}/{{task}}/{{optimizer}}/choice.json"


def named(seeds):
    """Return how the log of a job that trains runs of these seeds is named."""
    return f"seed{seeds[0]}" + (f"-{seeds[-1]}" if seeds[1:] else "")


# One job trains one run, or as many as `runs_per_job` says: then a rule for each group of seeds, which its jobs share.
for number, seeds in enumerate(CONFIG.seeds_of_jobs(), 1):

    rule:
        name:
            "finetune" if number == 1 else f"finetune_{number}"
        input:
            model=f"{RESULTS}/download/models/{{model}}",
            train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
            dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
            choice=CHOICE if CONFIG.tuned else [],
        output:
            record=expand(f"{FINETUNED}/run.json", seed=seeds, allow_missing=True),
            training=expand(f"{FINETUNED}/training.jsonl", seed=seeds, allow_missing=True),
        log:
            f"{LOGS}/finetune/{{model}}/{{task}}/{{optimizer}}/{named(seeds)}.log",
        benchmark:
            f"{LOGS}/benchmarks/finetune/{{model}}/{{task}}/{{optimizer}}/{named(seeds)}.tsv"
        conda:
            ENVIRONMENT
        threads: lambda wildcards: SITE.layout(wildcards.optimizer, NODES)[1] * SITE.cpus_per_rank
        resources:
            **resources_of("finetune", mem_mb=SITE.mem_mb, runtime=SITE.runtime),
        params:
            experiment=EXPERIMENT,
            compared=lambda wildcards: compared(
                CONFIG.settings_of_seeds(wildcards.model, wildcards.task, wildcards.optimizer)
            ),
            results=subpath(output[0], ancestor=6),
            # With `output` among its parameters Snakemake does not compare it: which runs share a job changes nothing.
            places=lambda wildcards, output: shlex.join(places_in(output.record)),
        shell:
            "python -m dnatune --log {log:q} finetune_runs --experiment {params.experiment:q} --results {params.results:q}"
            " --nodes {resources.nodes} --ranks {resources.ranks} --cpus {threads} {params.places}"
