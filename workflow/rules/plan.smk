"""plan: writes down what will be tested on a model and task, before any test score of it exists.

plan.json keeps every version of the plan, and the report names each that was made after test scores existed. It is not an
output, because Snakemake deletes those before it makes them again; the output `written` says that there is a plan. The
rule has no parameters: another setting must not score the test split anew. `onstart` writes the new version then.

Inputs:  dev.json of every control
Outputs: plan/{model}/{task}/written; beside it plan.json
Config:  comparison, seeds, optimizers, budget, training, lora, tuning, tasks (metric)
"""

PLANNED = f"{RESULTS}/plan/{{model}}/{{task}}/written"


# On a cluster the log-in node plans, because this takes seconds and a job might have to wait for a GPU.
rule plan:
    input:
        lambda wildcards: [
            f"{RESULTS}/evaluate/{folder}/dev.json"
            for folder in CONFIG.controls(wildcards.model, wildcards.task).values()
        ],
    output:
        touch(PLANNED),
    log:
        f"{LOGS}/plan/{{model}}/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/plan/{{model}}/{{task}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        **resources_of("plan", mem_mb=2000, runtime="10m"),
    params:
        experiment=EXPERIMENT,
        results=subpath(output[0], ancestor=4),
    shell:
        "python -m dnatune --log {log:q} plan --experiment {params.experiment:q} --results {params.results:q}"
        " --model {wildcards.model:q} --task {wildcards.task:q}"
