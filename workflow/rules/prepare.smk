"""prepare: CSV files become instruction records, checked row by row.

Inputs:  download/data/{task}/{train,dev,test}.csv
Outputs: prepare/{task}/{train,dev,test}.jsonl
Config:  tasks (labels, instruction)
"""


rule prepare:
    input:
        expand("{results}/download/data/{{task}}/{split}.csv", results=RESULTS, split=SPLITS),
    output:
        expand("{results}/prepare/{{task}}/{split}.jsonl", results=RESULTS, split=SPLITS),
    log:
        f"{LOGS}/prepare/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/prepare/{{task}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **placed("prepare", mem_mb=4000, runtime="30m"),
    params:
        settings=lambda wildcards: as_text(CONFIG.prepare_settings(wildcards.task)),
        source=subpath(input[0], parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        "dnatune prepare --settings {params.settings:q} --source {params.source:q} --folder {params.folder:q} 2> {log:q}"
