"""tuning: runs the same number of learning-rate trials for each optimizer, and chooses a rate by the dev split.

A trial is a finetune run without an adapter. Without `tuning` in the configuration no trial runs.

Inputs:  download/models/{model}/, prepare/{task}/{train,dev}.jsonl; the test split is not used
Outputs: tuning/{model}/{task}/{optimizer}/rate{rate}/run.json and training.jsonl, …/{optimizer}/choice.json
Config:  tuning, optimizers, budget, lora, training, tasks (labels, metric)
Site:    as finetune
"""


# On a cluster the log-in node chooses, because this takes seconds and a job might have to wait for a GPU.
localrules:
    choose,


TUNED = f"{RESULTS}/tuning/{{model}}/{{task}}/{{optimizer}}"
TRIAL = f"{TUNED}/rate{{rate}}"


use rule finetune as trial with:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
    output:
        record=f"{TRIAL}/run.json",
        training=f"{TRIAL}/training.jsonl",
    log:
        f"{LOGS}/tuning/{{model}}/{{task}}/{{optimizer}}/rate{{rate}}.log",
    benchmark:
        f"{LOGS}/benchmarks/tuning/{{model}}/{{task}}/{{optimizer}}/rate{{rate}}.tsv"
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(
            CONFIG.trial_settings(wildcards.model, wildcards.task, wildcards.optimizer, float(wildcards.rate))
        ),
        kind="--trial",
        place="{model}/{task}/{optimizer}/rate{rate}",
        choice="",
        checkpoints=f"{TRIAL}/checkpoints",


rule choose:
    input:
        records=lambda wildcards: [f"{folder}/run.json" for folder in trials_of(wildcards)],
        logs=lambda wildcards: [f"{folder}/training.jsonl" for folder in trials_of(wildcards)],
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
    output:
        CHOICE,
    log:
        f"{LOGS}/tuning/{{model}}/{{task}}/{{optimizer}}/choose.log",
    benchmark:
        f"{LOGS}/benchmarks/tuning/{{model}}/{{task}}/{{optimizer}}/choose.tsv"
    conda:
        ENVIRONMENT
    resources:
        **resources_of("choose", mem_mb=2000, runtime="10m"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(
            CONFIG.choose_settings(wildcards.model, wildcards.task, wildcards.optimizer)
        ),
    shell:
        "python -m dnatune --log {log:q} choose --experiment {params.experiment:q} --model {wildcards.model:q} --task"
        " {wildcards.task:q}"
        " --optimizer {wildcards.optimizer:q} --records {input.records:q} --logs {input.logs:q} --dev {input.dev:q}"
        " --choice {output:q}"
