"""download: base models and the tasks' CSV files, from wherever the configuration says.

Inputs:  none of the workflow's; the files of a `directory` source; for a `tiny` model the first task's training split
Outputs: download/models/{model}/, download/data/{task}/{train,dev,test}.csv and manifest.json
Config:  models, data, tasks
"""


# On a cluster the log-in node downloads: compute nodes may have no way out.
localrules:
    download_data,
    download_model,


rule download_data:
    input:
        files_of_directory,
    output:
        expand("{results}/download/data/{{task}}/{split}.csv", results=RESULTS, split=SPLITS),
        manifest=f"{RESULTS}/download/data/{{task}}/manifest.json",
    log:
        f"{LOGS}/download/data/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/download/data/{{task}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **resources_of("download_data", mem_mb=4000, runtime="2h"),
    params:
        settings=passed_settings(data_settings, f"{RESULTS}/download/data/{{task}}"),
        identity=compared_settings(data_settings, f"{RESULTS}/download/data/{{task}}"),
        folder=subpath(output.manifest, parent=True),
    shell:
        "dnatune download data --settings {params.settings:q} --folder {params.folder:q} 2> {log:q}"


rule download_model:
    input:
        tokenizer_data,
    output:
        directory(f"{RESULTS}/download/models/{{model}}"),
    log:
        f"{LOGS}/download/models/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/download/models/{{model}}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **resources_of("download_model", mem_mb=8000, runtime="8h"),
    params:
        settings=passed_settings(model_settings, f"{RESULTS}/download/models/{{model}}"),
        identity=compared_settings(model_settings, f"{RESULTS}/download/models/{{model}}"),
        train=lambda wildcards, input: f"--train {shlex.quote(str(input[0]))}" if input else "",
    shell:
        "dnatune download model --settings {params.settings:q} {params.train} --folder {output:q} 2> {log:q}"
