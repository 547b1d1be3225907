"""What jobs are given beside paths and settings: the files they wait for, and parts of their commands.

Config keys used: through `CONFIG`.
"""

from dnatune.data import manifests, sources


def files_of_directory(wildcards):
    """Return the CSV files of a `directory` source that exist; the command names the missing ones."""
    settings = CONFIG.data_settings(wildcards.task)
    if settings.source != "directory":
        return []
    folder = sources.task_folder(settings)
    return [str(path) for split in SPLITS if (path := folder / f"{split}.csv").is_file()]


def tokenizer_data(wildcards):
    """Return the training split that a `tiny` model's tokenizer is made from."""
    if CONFIG.model_settings(wildcards.model).source != "tiny":
        return []
    return f"{RESULTS}/download/data/{next(iter(CONFIG.tasks))}/train.csv"


def at_download(settings, manifest):
    """Return a download's settings with the revision as first named, so that a branch and its commit are one text."""
    return manifests.name_at_download(settings, Path(manifest))


def requested_option(settings, manifest):
    """Return the option with the name of that revision; empty where nothing comes from the hub."""
    hub = at_download(settings, manifest).hub
    return f"--requested {shlex.quote(hub.revision)}" if hub else ""


def evaluate_command(wildcards, resources, threads):
    """Return how scoring is started; one process needs no launcher, which takes seconds."""
    return f"launch --ranks {resources.ranks} --cpus {threads} evaluate" if resources.ranks > 1 else "evaluate"


def trials_of(wildcards, file, fine):
    """Return a file of each of an optimizer's learning-rate trials, with or without those of the second step."""
    folder = f"{RESULTS}/tuning/{wildcards.model}/{wildcards.task}/{wildcards.optimizer}"
    places = [
        *CONFIG.trials.places(wildcards.optimizer),
        *(CONFIG.trials.fine_places(wildcards.optimizer) if fine else []),
    ]
    return [f"{folder}/{place}/{file}" for place in places]
