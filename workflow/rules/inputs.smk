"""What jobs are given beside paths and settings: the files they wait for, and parts of their commands.

Config keys used: through `CONFIG`.
"""

from dnatune.data import manifests, sources


def files_of_user(wildcards):
    """Return the files that a task's data are taken from and that exist; the command names the missing ones."""
    return [local(str(path)) for path in sources.files_of(CONFIG.data_settings(wildcards.task)) if path.is_file()]


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


def scoring_command(stage):
    """Return a function that says how a stage which scores is started."""

    def command(wildcards, resources, threads):
        # One process needs no launcher, which takes seconds.
        return f"launch --ranks {resources.ranks} --cpus {threads} {stage}" if resources.ranks > 1 else stage

    return command


# With the module's prefix, which is known only while its rules are read.
PLACED_RESULTS = Path(placed(RESULTS))


def places_in(records):
    """Return the places of runs or trials, by the paths of their run.json."""
    places = [Path(record).parent.relative_to(PLACED_RESULTS) for record in records]
    return ["/".join(place.parts[1:]) for place in places]


def predict_inputs(wildcards):
    """Return the files that predictions are made from."""
    run, chosen = CONFIG.predicted_run(), CONFIG.experiment.predict
    return {
        "record": f"{RESULTS}/finetune/{run.path}/run.json",
        "model": f"{RESULTS}/download/models/{run.model}",
        "dev": f"{RESULTS}/prepare/{run.task}/dev.jsonl",
        "sequences": local(chosen.input),
        "genome": local(chosen.genome) if chosen.genome else [],
    }


def predict_options(wildcards, input):
    """Return the options that say how sequences are read."""
    chosen = CONFIG.experiment.predict
    genome = ["--genome", input.genome] if input.genome else []
    return shlex.join([*genome, *chosen.options(), "--batch-size", str(CONFIG.experiment.evaluation.batch_size)])


def trials_of(wildcards, file, fine):
    """Return a file of each of an optimizer's learning-rate trials, with or without those of the second step."""
    folder = f"{RESULTS}/tuning/{wildcards.model}/{wildcards.task}/{wildcards.optimizer}"
    places = [
        *CONFIG.trials.places(wildcards.optimizer),
        *(CONFIG.trials.fine_places(wildcards.optimizer) if fine else []),
    ]
    return [f"{folder}/{place}/{file}" for place in places]
