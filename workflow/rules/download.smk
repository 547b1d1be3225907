"""download: fetches or makes base models and the tasks' CSV files, as configured.

Inputs:  the files of a `directory` source or of the user's own tasks; for a `tiny` model the first task's training split
Outputs: download/models/{model}/, download/data/{task}/{train,dev,test}.csv and manifest.json
Config:  models, data, tasks
"""

DATA_MANIFEST = f"{RESULTS}/download/data/{{task}}/manifest.json"
MODEL_MANIFEST = f"{RESULTS}/download/models/{{model}}/manifest.json"


# On a cluster the log-in node downloads, because compute nodes may have no network.
rule download_data:
    input:
        files_of_user,
    output:
        expand("{results}/download/data/{{task}}/{split}.csv", results=RESULTS, split=SPLITS),
        manifest=DATA_MANIFEST,
    log:
        f"{LOGS}/download/data/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/download/data/{{task}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        **resources_of("download_data", mem_mb=4000, runtime="2h"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(
            at_download(CONFIG.data_settings(wildcards.task), placed(DATA_MANIFEST).format(**wildcards))
        ),
        # With `output` among its parameters Snakemake does not compare it.
        requested=lambda wildcards, output: requested_option(
            CONFIG.data_settings(wildcards.task), placed(DATA_MANIFEST).format(**wildcards)
        ),
        folder=subpath(output.manifest, parent=True),
    shell:
        "python -m dnatune --log {log:q} download data --experiment {params.experiment:q} --task {wildcards.task:q}"
        " {params.requested}"
        " --folder {params.folder:q}"


rule download_model:
    input:
        tokenizer_data,
    output:
        directory(f"{RESULTS}/download/models/{{model}}"),
    log:
        f"{LOGS}/download/models/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/download/models/{{model}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    resources:
        **resources_of("download_model", mem_mb=8000, runtime="8h"),
    params:
        experiment=EXPERIMENT,
        compared=lambda wildcards: compared(
            at_download(CONFIG.model_settings(wildcards.model), placed(MODEL_MANIFEST).format(**wildcards))
        ),
        requested=lambda wildcards, output: requested_option(
            CONFIG.model_settings(wildcards.model), placed(MODEL_MANIFEST).format(**wildcards)
        ),
        train=lambda wildcards, input: f"--train {shlex.quote(str(input[0]))}" if input else "",
    shell:
        "python -m dnatune --log {log:q} download model --experiment {params.experiment:q} --model"
        " {wildcards.model:q} {params.requested}"
        " {params.train} --folder {output:q}"
