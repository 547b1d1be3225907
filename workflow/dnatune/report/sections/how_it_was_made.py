"""How the runs were made: settings, inputs, machine and software, by stage."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dnatune.comparison.pooled_predictions import has_probabilities
from dnatune.comparison.results import FinishedRun, Group
from dnatune.data.manifests import Manifest, Origin, Origins
from dnatune.model.pretraining import PretrainingRecord
from dnatune.report import formatting
from dnatune.report.evidence import Evidence

_INPUTS = {"model": ("download", "digest of the base model"), "train": ("prepare", "digest of the training split")}
_SOURCES = {"hub": "model hub", "directory": "folder", "files": "files", "simulated": "simulated", "tiny": "made here"}
#: Digits of a hash that are shown.
_DIGITS = 12
_AXES = ("optimizer", "task", "model", "seed")


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of settings, inputs, machine and software."""
    origins = evidence.origins
    return {
        "stages": _stages(evidence.groups, origins),
        "segments": _segments(evidence.groups),
        "packages": evidence.packages,
        "command": evidence.command,
        "data_commits": len(origins.data_commits),
    }


def _segments(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return a row for each segment of each run; a run that was never interrupted has one."""
    return [
        {
            "run": run.record.place,
            **segment.model_dump(),
            "start": segment.start.removesuffix("+00:00").replace("T", " "),
            "end": segment.end.removesuffix("+00:00").replace("T", " "),
            "checkpoint": (segment.checkpoint or "")[:_DIGITS],
        }
        for group in groups
        for run in group.runs
        for segment in run.record.segments
    ]


def _stages(groups: Sequence[Group], origins: Origins) -> dict[str, list[tuple[str, list[tuple[str, str]]]]]:
    """Return {stage: rows of (setting, values)}; a value that not all runs share says which runs have it."""
    runs = [run for group in groups for run in group.runs]
    places = [{axis: f"seed {run.seed}" if axis == "seed" else getattr(run, axis) for axis in _AXES} for run in runs]
    facts = [dict(_facts(run, origins)) for run in runs]
    stages: dict[str, list[tuple[str, list[tuple[str, str]]]]] = {
        "download": [],
        "prepare": [],
        "finetune": [],
        "evaluate": [],
        "software": [],
    }
    for stage, key in dict.fromkeys(itertools.chain.from_iterable(facts)):
        # A diverged run was not evaluated, which is no difference of how.
        having = [
            (fact, place)
            for fact, place in zip(facts, places, strict=True)
            if stage != "evaluate" or (stage, key) in fact
        ]
        values = [fact.get((stage, key), "—") for fact, _ in having]
        stages[stage].append((key, _who_has_what(values, [place for _, place in having])))
    return stages


def _facts(run: FinishedRun, origins: Origins) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield ((stage, setting), value) of one run."""
    record = run.record
    for noun, origin in (("base model", origins.models.get(run.model)), ("data", origins.data.get(run.task))):
        if origin is not None:
            yield ("download", noun), f"{_SOURCES[origin.manifest.source]}: {origin.manifest.origin}"
            yield ("download", f"revision of the {noun}"), _revision(origin.manifest)
    if run.model in origins.models:
        yield from _pretraining(origins.models[run.model])
    if run.task in origins.data:
        yield ("download", "digest of the data"), origins.data[run.task].manifest.digest
    for key, value in record.inputs:
        yield _INPUTS[key], value
    for key, value in _flat(record.settings):
        if key in ("model", "seed", "task.name", "optimizer.name") or (key, value) == (
            "optimizer.method",
            run.optimizer,
        ):
            continue
        stage = "prepare" if key.startswith("task.") else "finetune"
        yield (stage, key.replace("optimizer.hyperparameters.", "optimizer.")), value
    trainable, total = record.trainable_parameters, record.total_parameters
    share = f" ({100 * trainable / total:.3g} % of all)" if total else ""
    yield ("finetune", "trainable parameters"), f"{formatting.count(trainable)}{share}"
    yield ("finetune", "parameters"), formatting.count(total)
    processor = f", {record.cpu}" if record.device == "cpu" and record.cpu else ""
    yield ("finetune", "precision"), record.precision
    yield ("finetune", "device"), f"{record.device}{processor}"
    yield ("finetune", "ranks"), str(record.ranks)
    yield ("finetune", "device of each rank"), ", ".join(record.devices)
    batch, micro, accumulation = record.global_batch_size, record.micro_batch_size, record.accumulation
    cut = f"{batch}: micro-batches of {micro}, {accumulation} accumulated on each of {record.ranks} ranks"
    yield ("finetune", "batch as it was cut"), cut
    rows = "a micro-batch behind one prefix" if record.shared_prefix else "one for each example"
    yield ("finetune", "rows"), rows
    yield ("finetune", "activations"), "recomputed" if record.gradient_checkpointing else "kept"
    yield ("finetune", "layers"), "compiled" if record.compiled else "as transformers has them"
    if not run.diverged:
        yield ("evaluate", "test items"), formatting.count(run.metrics.n)
        yield ("evaluate", "answers"), "most probable label" if has_probabilities(run) else "decoded freely"
    for key, value in record.software:
        yield ("software", key.replace("_", " ")), "not known" if value is None else str(value)


def _pretraining(origin: Origin) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield what a base model that was made for these tasks was pretrained on, if it was."""
    path = origin.path.with_name("pretraining.json")
    if origin.manifest.source == "tiny" and path.is_file():
        record = PretrainingRecord.read(path)
        tasks, left_out = ", ".join(record.tasks), sum(record.left_out.values())
        yield (
            ("download", "pretraining of the base model"),
            f"{record.steps} steps on {formatting.count(record.sequences)} sequences of {tasks}, with random labels;"
            f" {left_out} left out as relatives of test items; test items with a relative among the others:"
            f" {sum(record.related_test_items.values())}",
        )


def _revision(manifest: Manifest) -> str:
    """Say which revision of a repository it was; a folder and what is made here have none."""
    if manifest.revision is None:
        return "none: only a repository of the hub has one"
    if manifest.requested == manifest.revision:
        return manifest.revision
    return f"{manifest.requested}, which meant commit {manifest.revision}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        elif isinstance(item, bool):
            yield f"{prefix}{key}", "yes" if item else "no"
        elif isinstance(item, list):
            yield f"{prefix}{key}", ", ".join(map(str, item)) or "none"
        else:
            yield f"{prefix}{key}", "none" if item is None or item == {} else str(item)


def _who_has_what(values: Sequence[str], places: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return [(value, whose)]; `whose` names the fewest axes of the grid that decide it, or is empty."""
    if len(set(values)) == 1:
        return [(values[0], "")]
    subsets = itertools.chain.from_iterable(itertools.combinations(_AXES, size) for size in range(1, len(_AXES) + 1))
    for axes in subsets:
        pairs = dict.fromkeys(
            (" ".join(place[axis] for axis in axes), v) for place, v in zip(places, values, strict=True)
        )
        if len({whose for whose, _ in pairs}) == len(pairs):
            break
    owners: dict[str, list[str]] = {}
    for whose, value in pairs:
        owners.setdefault(value, []).append(whose)
    return [(value, ", ".join(names)) for value, names in owners.items()]
