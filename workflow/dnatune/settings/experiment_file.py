"""The configuration as it is written down: all its keys, and an optimizer's entry taken apart."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from dnatune import optimizers
from dnatune.errors import ConfigurationError, shown
from dnatune.settings.base import AllDifferent, AsTuple, Name, Settings, setting
from dnatune.settings.benchmark import Benchmark
from dnatune.settings.prediction import Predict
from dnatune.settings.scoring import Audit, Comparison, Contamination, Evaluation, Merge
from dnatune.settings.sources import DataEntry, ModelEntry, NameOrTask
from dnatune.settings.training import Budget, Lora, OptimizerEntry, Training
from dnatune.settings.tuning import Tuning

Seed = Annotated[int, Field(ge=0)]
_LONGEST_METHOD = 200


class Experiment(Settings):
    """One comparison. What a machine or cluster is like stands in a site file, never here."""

    name: Name = setting(unit="folder name")
    """Results go to results/<name>."""
    models: dict[Name, ModelEntry] = setting(min_length=1, unit="map of name to model")
    """Base models by name."""
    data: DataEntry | None = setting(None, unit="map")
    """Where the tasks' CSV files come from. One word chooses the source; the maps of the other sources are not used. It
    may be absent if every task has files of its own."""
    tasks: Annotated[tuple[NameOrTask, ...], AsTuple] = setting(min_length=1, unit="list of names or maps")
    """GUE's tasks by name, or tasks of your own."""
    seeds: Annotated[tuple[Seed, ...], AsTuple, AllDifferent] = setting(
        (0,), min_length=1, max_length=1000, unit="list of seeds"
    )
    """Each seed is one run: data order, adapter initialisation and dropout follow from it."""
    budget: Budget = setting(Budget(epochs=1), unit="map with one key")
    """Length of training of every run, unless an optimizer overrides it."""
    optimizers: dict[Name, dict[str, Any]] = setting(min_length=1, unit="map of name to settings")
    """Optimizers to compare, by name. An entry may also override the budget and any key of training."""
    lora: Lora = setting(default_factory=Lora, unit="map")
    """The adapter (Hu et al. 2021, arXiv 2106.09685)."""
    training: Training = setting(default_factory=Training, unit="map")
    """How every run is trained, unless an optimizer overrides a key."""
    tuning: Tuning | None = setting(None, unit="map")
    """Learning-rate trials on the dev split, the same number for every optimizer. A trial is a run of its own, and the
    test split is not touched. If absent or null, the rates are those of `optimizers`."""
    evaluation: Evaluation = setting(default_factory=Evaluation, unit="map")
    """How the test split is scored."""
    audit: Audit = setting(default_factory=Audit, unit="map")
    """Search for sequences that the splits of a data set share. It is done before anything is trained, and the report
    shows what it found."""
    contamination: Contamination = setting(default_factory=Contamination, unit="map")
    """Search for signs that a base model has seen a task's test split; docs/contamination.md."""
    comparison: Comparison = setting(default_factory=Comparison, unit="map")
    """How each pair of optimizers is tested; docs/statistics.md. Choose it before you see the results."""
    benchmark: Benchmark = setting(default_factory=Benchmark, unit="map")
    """The speed comparison, `snakemake benchmark`; benchmarks/README.md. Its model is a Llama with random weights;
    task, adapter and training are those of the configuration."""
    runs_per_job: Annotated[int, Field(ge=1, le=1000)] = setting(1, unit="number of runs", reruns=False)
    """How many runs of an optimizer on a task, with different seeds, one job trains one after the other. Starting takes
    less time then, and a scheduler gets fewer jobs; but these runs no longer go side by side. A run that diverges or
    fails leaves the others alone, and a job that was cut goes on with the next."""
    predict: Predict | None = setting(None, unit="map", reruns=False)
    """Predictions for new sequences, `snakemake predict`; docs/predict.md."""
    merge: Merge = setting(default_factory=Merge, unit="map")
    """How merged models are stored."""
    keep_merged: bool = setting(True, unit="yes or no", reruns=False)
    """Keep the merged models. If false, each is deleted after it is evaluated."""


def optimizer_entry(name: str, given: Mapping[str, Any], experiment: Experiment) -> OptimizerEntry:
    """Take an entry of `optimizers` apart into method, budget, training and hyperparameters, and check each.

    Raises:
        ConfigurationError: names the key and what it may be.
    """
    where = f"optimizers.{name}"
    entry = dict(given)
    method = entry.pop("method", name)
    if not isinstance(method, str) or len(method) > _LONGEST_METHOD:
        raise ConfigurationError(
            f"{shown(method)} is not a method", where=f"config key '{where}.method'", fix="give the method's name"
        )
    budget = Budget.read(entry.pop("budget"), prefix=f"{where}.budget") if "budget" in entry else experiment.budget
    own = {key: entry.pop(key) for key in Training.model_fields if key in entry}
    training = Training.read({**experiment.training.plain(), **own}, prefix=where)
    for key in entry:
        near = difflib.get_close_matches(key, Training.model_fields, n=1, cutoff=0.85)
        if near:
            raise ConfigurationError(
                f"unknown key '{key}'", where=f"config key '{where}.{key}'", fix=f"did you mean '{near[0]}'?"
            )
    hyperparameters = optimizers.validate(method, entry, where, tuned=experiment.tuning is not None)
    return OptimizerEntry(method=method, budget=budget, training=training, hyperparameters=hyperparameters)
