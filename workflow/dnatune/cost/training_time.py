"""How long training takes: gradient evaluations times a rate that was measured, or that the site file states."""

import dataclasses
import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from dnatune import optimizers
from dnatune.cost import rows
from dnatune.errors import DnatuneError
from dnatune.settings import experiment
from dnatune.settings.experiment import Configuration
from dnatune.settings.training import FinetuneSettings
from dnatune.training.record import Run


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast one rank trains a base model.

    Attributes:
        examples_per_second: forward and backward passes over one example.
        source: where this is from, in words.
    """

    examples_per_second: float
    source: str


@dataclasses.dataclass(frozen=True)
class Training:
    """What the runs and trials of one model, task and optimizer cost.

    Attributes:
        model, task, optimizer: their names.
        count: number of runs and trials.
        gradient_evaluations: of all of them; None if the size of the training split is not known.
        seconds: that one rank would compute for all of them; None if that or the speed is not known.
        longest: those of the longest run or trial.
        speed: the speed; None if none is known.
    """

    model: str
    task: str
    optimizer: str
    count: int
    gradient_evaluations: int | None
    seconds: float | None
    longest: float | None
    speed: Speed | None


def all_training(configuration: Configuration, folder: Path, stated: Mapping[str, float]) -> list[Training]:
    """Return the cost of training of each model, task and optimizer of the grid.

    Args:
        configuration: the experiment.
        folder: in which results/ lies.
        stated: examples per second and rank by base model, as the site file states them.
    """
    measured = measured_speeds(folder / "results")
    examples = functools.cache(lambda task: rows.rows_of(configuration, task, folder / "results" / configuration.name))
    found = []
    for cell, settings in trainings(configuration):
        split, batch = examples(cell[1]), settings[0].training.global_batch_size
        speed = speed_of(configuration, *cell[:2], stated, measured)
        each = [steps_and_gradients(one, split.train if split else None) for one in settings]
        gradients = None if None in each else [evaluations for _, evaluations in each]
        seconds = [one * batch / speed.examples_per_second for one in gradients] if gradients and speed else None
        spent = (sum(seconds), max(seconds)) if seconds else (None, None)
        found.append(Training(*cell, len(each), sum(gradients) if gradients else None, *spent, speed))
    return found


def steps_and_gradients(settings: FinetuneSettings, examples: int | None) -> tuple[int, int] | None:
    """Return optimizer steps and gradient evaluations of a run; None if the unknown size of its split decides them."""
    chosen = settings.optimizer
    stages = optimizers.stages(chosen.method, chosen.hyperparameters)
    per_epoch = None if examples is None else math.ceil(examples / settings.training.global_batch_size)
    steps = settings.budget.steps_of(stages, per_epoch)
    return None if steps is None else (steps, steps * stages)


def speed_of(
    configuration: Configuration,
    model: str,
    task: str,
    stated: Mapping[str, float],
    measured: Mapping[tuple[str, str], Speed],
) -> Speed | None:
    """Return the speed that the site states for a model; else that of finished runs of it, best of the same task."""
    if model in stated:
        return Speed(stated[model], "the site file")
    known = _identity(configuration, model)
    if (known, task) in measured:
        return measured[known, task]
    others = {other: speed for (one, other), speed in measured.items() if one == known}
    if not others:
        return None
    # The slowest: a longer sequence takes longer, and a plan had better not be too short.
    other, slowest = min(others.items(), key=lambda item: item[1].examples_per_second)
    return dataclasses.replace(slowest, source=f"{slowest.source}, task {other}")


def measured_speeds(results: Path) -> dict[tuple[str, str], Speed]:
    """Return the speed of finished runs below results/, by identity of the base model and by task."""
    spent: dict[tuple[str, str], list[tuple[float, float, str]]] = defaultdict(list)
    for name, configuration in _experiments(results):
        for path in (results / name / "finetune").glob("*/*/*/seed*/run.json"):
            try:
                run = Run.read(path)
            except DnatuneError:
                continue
            if run.model in configuration.experiment.models and run.wall_seconds:
                amount = run.gradient_evaluations * run.global_batch_size
                on = run.device if run.device != "cpu" else run.cpu
                spent[_identity(configuration, run.model), run.task].append((amount, run.wall_seconds * run.ranks, on))
    return {key: _mean_speed(found) for key, found in spent.items()}


def _mean_speed(found: list[tuple[float, float, str]]) -> Speed:
    devices = ", ".join(sorted({on for _, _, on in found}))
    number = "1 finished run" if len(found) == 1 else f"{len(found)} finished runs"
    return Speed(sum(one[0] for one in found) / sum(one[1] for one in found), f"{number} on {devices}")


def _experiments(results: Path) -> Iterator[tuple[str, Configuration]]:
    for path in sorted(results.glob("*/experiment.json")):
        try:
            yield path.parent.name, experiment.read(path)
        except DnatuneError:
            # Of another version, perhaps.
            continue


def _identity(configuration: Configuration, model: str) -> str:
    """Return what tells base models apart: where a model comes from, not what an experiment calls it."""
    entry = configuration.experiment.models[model]
    return f"{entry.source}: {entry.chosen.model_dump_json()}"


def trainings(configuration: Configuration) -> Iterator[tuple[tuple[str, str, str], list[FinetuneSettings]]]:
    """Yield the settings of all runs and trials of each model, task and optimizer."""
    runs: dict[tuple[str, str, str], list[FinetuneSettings]] = defaultdict(list)
    for run in configuration.runs():
        runs[run.model, run.task, run.optimizer].append(configuration.finetune_settings(run))
    for cell, settings in runs.items():
        if configuration.tuned:
            trials = configuration.trials
            places = [*trials.places(cell[2]), *trials.fine_places(cell[2])]
            # How long a trial is does not depend on its rate.
            settings += [trials.settings_at("/".join((*cell, place)), best=1.0) for place in places]
        yield cell, settings
