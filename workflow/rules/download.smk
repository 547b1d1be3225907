"""download: base models and the tasks' CSV files, from wherever the configuration says.

Inputs:  none of the workflow's; the files of a `directory` source; for a `tiny` model the first task's training split
Outputs: download/models/{model}/, download/data/{task}/{train,dev,test}.csv and manifest.json
Config:  models, data, tasks
"""


def files_of_directory(wildcards):
    """Return the CSV files of a `directory` source that exist; the script names the missing ones."""
    settings = CONFIG.data_settings(wildcards.task)
    if settings["source"] != "directory":
        return []
    folder = downloads.task_folder(settings)
    return [str(path) for split in SPLITS if (path := folder / f"{split}.csv").is_file()]


def tokenizer_data(wildcards):
    """Return the training split that a `tiny` model's tokenizer is made from."""
    if CONFIG.settings["models"][wildcards.model]["source"] != "tiny":
        return []
    return f"{RESULTS}/download/data/{next(iter(CONFIG.tasks))}/train.csv"


def model_settings(wildcards):
    """Return the model's settings as text; a `tiny` model's hold the task its tokenizer is made for."""
    settings = CONFIG.model_settings(wildcards.model)
    if settings["source"] == "tiny":
        settings["task"] = CONFIG.task_settings(next(iter(CONFIG.tasks)))
    return as_text(settings)


rule download_data:
    input:
        files_of_directory,
    output:
        expand("{results}/download/data/{{task}}/{split}.csv", results=RESULTS, split=SPLITS),
        manifest=f"{RESULTS}/download/data/{{task}}/manifest.json",
    params:
        settings=lambda wildcards: as_text(CONFIG.data_settings(wildcards.task)),
        folder=subpath(output.manifest, parent=True),
    log:
        f"{LOGS}/download/data/{{task}}.log",
    benchmark:
        f"{LOGS}/benchmarks/download/data/{{task}}.tsv"
    resources:
        mem_mb=4000,
        runtime="2h",
    conda:
        ENVIRONMENT
    shell:
        "{PYTHON} {SCRIPTS}/download.py data --settings {params.settings:q} --folder {params.folder:q} 2> {log:q}"


rule download_model:
    input:
        tokenizer_data,
    output:
        directory(f"{RESULTS}/download/models/{{model}}"),
    params:
        settings=model_settings,
        train=lambda wildcards, input: f"--train {shlex.quote(str(input[0]))}" if input else "",
    log:
        f"{LOGS}/download/models/{{model}}.log",
    benchmark:
        f"{LOGS}/benchmarks/download/models/{{model}}.tsv"
    resources:
        mem_mb=8000,
        runtime="8h",
    conda:
        ENVIRONMENT
    shell:
        "{PYTHON} {SCRIPTS}/download.py model --settings {params.settings:q} {params.train} --folder {output:q} 2> {log:q}"
