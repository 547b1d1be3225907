"""tuning: runs the same number of learning-rate trials for each optimizer, and chooses a rate by the dev split.

A trial is a finetune run without an adapter. Without `tuning` in the configuration no trial runs. With `tuning.fine`
the best rate is the middle of a second step: rates about it, whose number and distances are known beforehand, with two
more seeds.

Inputs:  download/models/{model}/, prepare/{task}/{train,dev}.jsonl; the test split is not used
Outputs: tuning/{model}/{task}/{optimizer}/rate{rate}/run.json and training.jsonl, …/{optimizer}/choice.json; with
         `tuning.fine` also …/{optimizer}/coarse.json and …/{optimizer}/fine{index}/seed{seed}/run.json, training.jsonl
Config:  tuning, optimizers, budget, lora, training, tasks (labels, metric)
Site:    as finetune
"""

TUNED = f"{RESULTS}/tuning/{{model}}/{{task}}/{{optimizer}}"
TUNED_LOG = f"{LOGS}/tuning/{{model}}/{{task}}/{{optimizer}}"
TRIAL = f"{TUNED}/rate{{rate}}"
COARSE = f"{TUNED}/coarse.json"
FINE_TRIAL = f"{TUNED}/fine{{index}}/seed{{seed}}"


use rule finetune as trial with:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
    output:
        record=f"{TRIAL}/run.json",
        training=f"{TRIAL}/training.jsonl",
    log:
        f"{TUNED_LOG}/rate{{rate}}.log",
    benchmark:
        f"{LOGS}/benchmarks/tuning/{{model}}/{{task}}/{{optimizer}}/rate{{rate}}.tsv"
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(
            CONFIG.trials.settings(wildcards.model, wildcards.task, wildcards.optimizer, float(wildcards.rate))
        ),
        results=subpath(output[0], ancestor=6),
        places=lambda wildcards, output: shlex.join(places_in([output.record])),


use rule finetune as fine_trial with:
    input:
        model=f"{RESULTS}/download/models/{{model}}",
        train=f"{RESULTS}/prepare/{{task}}/train.jsonl",
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
        choice=COARSE,
    output:
        record=f"{FINE_TRIAL}/run.json",
        training=f"{FINE_TRIAL}/training.jsonl",
    log:
        f"{TUNED_LOG}/fine{{index}}/seed{{seed}}.log",
    benchmark:
        f"{LOGS}/benchmarks/tuning/{{model}}/{{task}}/{{optimizer}}/fine{{index}}/seed{{seed}}.tsv"
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(
            CONFIG.trials.fine_settings(wildcards.model, wildcards.task, wildcards.optimizer, int(wildcards.seed)),
            CONFIG.trials.fine_rates(wildcards.optimizer)[int(wildcards.index)],
        ),
        results=subpath(output[0], ancestor=7),
        places=lambda wildcards, output: shlex.join(places_in([output.record])),


# On a cluster the log-in node chooses, because this takes seconds and a job might have to wait for a GPU.
rule choose:
    input:
        records=lambda wildcards: trials_of(wildcards, "run.json", fine=True),
        logs=lambda wildcards: trials_of(wildcards, "training.jsonl", fine=True),
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
    output:
        CHOICE,
    log:
        f"{TUNED_LOG}/choose.log",
    benchmark:
        f"{LOGS}/benchmarks/tuning/{{model}}/{{task}}/{{optimizer}}/choose.tsv"
    localrule: True
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


use rule choose as choose_coarse with:
    input:
        records=lambda wildcards: trials_of(wildcards, "run.json", fine=False),
        logs=lambda wildcards: trials_of(wildcards, "training.jsonl", fine=False),
        dev=f"{RESULTS}/prepare/{{task}}/dev.jsonl",
    output:
        COARSE,
    log:
        f"{TUNED_LOG}/choose_coarse.log",
    benchmark:
        f"{LOGS}/benchmarks/tuning/{{model}}/{{task}}/{{optimizer}}/choose_coarse.tsv"
    localrule: True
