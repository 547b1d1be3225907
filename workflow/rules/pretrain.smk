"""pretrain: trains a tiny base model on DNA before anything is fine-tuned, without relatives of any test item.

Inputs:  download/data/{task}/train.csv of the tasks to train on, prepare/{task}/test.jsonl of all tasks
Outputs: download/models/{model}/, with pretraining.json
Config:  models.<name>.tiny, tasks, audit (similarity)
"""

if CONFIG.pretrained:

    ruleorder: pretrain > download_model

    rule pretrain:
        input:
            train=lambda wildcards: [
                f"{RESULTS}/download/data/{task}/train.csv" for task in CONFIG.pretraining_tasks(wildcards.model)
            ],
            test=expand("{results}/prepare/{task}/test.jsonl", results=RESULTS, task=CONFIG.tasks),
        output:
            directory(f"{RESULTS}/download/models/{{model}}"),
        log:
            f"{LOGS}/pretrain/{{model}}.log",
        benchmark:
            f"{LOGS}/benchmarks/pretrain/{{model}}.tsv"
        wildcard_constraints:
            model="|".join(map(re.escape, CONFIG.pretrained)),
        conda:
            ENVIRONMENT
        threads: SITE.scoring_cores()
        resources:
            **resources_of("pretrain", mem_mb=8000, runtime="4h"),
        params:
            experiment=EXPERIMENT,
            compared=lambda wildcards: compared(CONFIG.model_settings(wildcards.model)),
            data=placed(f"{RESULTS}/download/data"),
            prepared=placed(f"{RESULTS}/prepare"),
        shell:
            "python -m dnatune --log {log:q} pretrain --experiment {params.experiment:q} --model {wildcards.model:q}"
            " --data {params.data:q} --prepared {params.prepared:q} --folder {output:q}"
