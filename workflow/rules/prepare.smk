"""prepare: converts CSV files to instruction records, checks every row, and audits the splits for copies.

Inputs:  download/data/{task}/{train,dev,test}.csv
Outputs: prepare/{task}/{train,dev,test}.jsonl, audit.json, manifest.json
Config:  tasks (labels, instruction), audit
"""


rule prepare:
    input:
        expand("{results}/download/data/{{task}}/{split}.csv", results=RESULTS, split=SPLITS),
    output:
        expand("{results}/prepare/{{task}}/{split}.jsonl", results=RESULTS, split=SPLITS),
        audit=f"{RESULTS}/prepare/{{task}}/audit.json",
        manifest=f"{RESULTS}/prepare/{{task}}/manifest.json",
    log:
        f"{LOGS}/prepare/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/prepare/{{task}}.tsv"
    group:
        grouped("prepare")
    conda:
        ENVIRONMENT
    resources:
        **resources_of("prepare", mem_mb=4000, runtime="30m"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(CONFIG.prepare_settings(wildcards.task), CONFIG.experiment.audit),
        source=subpath(input[0], parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        "python -m dnatune --log {log:q} prepare --experiment {params.experiment:q} --task {wildcards.task:q}"
        " --source {params.source:q}"
        " --folder {params.folder:q}"
