"""What results/<name> takes on disk, at its peak and at the end."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

from dnatune.cost import rows
from dnatune.cost.model_sizes import ModelSizes
from dnatune.cost.training_time import steps_and_gradients, trainings
from dnatune.errors import DnatuneError
from dnatune.settings.experiment import Configuration
from dnatune.settings.site import Site
from dnatune.settings.training import FinetuneSettings

#: Bytes of what else a run leaves: run.json, scores, card, its part of the page. Measured, see docs/facility.md.
_OF_RUN = 45_000
#: Bytes of a line of training.jsonl, of a line of predictions.tsv, and of each label there.
_OF_STEP, _OF_ITEM, _OF_LABEL = 435, 9, 11
#: Bytes of page, figures, tables and research-object record without any run.
_OF_REPORT = 230_000
_FP32, _HALF = 4, 2


class SpaceError(DnatuneError):
    """A plan that needs more disk space than is free."""

    exit_status = 1


@dataclasses.dataclass(frozen=True)
class Part:
    """Files of one kind.

    Attributes:
        what: their kind, in words.
        count: how many there are of them.
        bytes: what all of them take.
        lasting: whether they are there at the end.
        lower: configuration key, with the value that makes them fewest or smallest.
    """

    what: str
    count: int
    bytes: int
    lasting: bool = True
    lower: str | None = None


@dataclasses.dataclass(frozen=True)
class Disk:
    """All that stands in results/<name>.

    Attributes:
        parts: the files by kind.
        unknown: what is not counted, in words.
    """

    parts: list[Part]
    unknown: list[str]

    @property
    def end(self) -> int:
        """Return the bytes at the end."""
        return sum(part.bytes for part in self.parts if part.lasting)

    @property
    def peak(self) -> int:
        """Return the most bytes at once: all that lasts, and as many jobs at work as there can be."""
        return sum(part.bytes for part in self.parts)


def disk_of(
    configuration: Configuration, site: Site, sizes: Mapping[str, ModelSizes], results: Path, at_once: int
) -> Disk:
    """Return what an experiment takes.

    Args:
        configuration: the experiment.
        site: says in which number format is trained.
        sizes: those of each base model; of one that is left out nothing is known.
        results: folder results/<name>.
        at_once: number of runs and trials that train at once, at the most.
    """
    runs = [run for run in configuration.runs() if run.model in sizes]
    parts = [Part("base models", len(sizes), sum(one.base for one in sizes.values()))]
    adapters = sum(sizes[run.model].adapter for run in runs)
    whole = "lora.modules_to_save: [] (other results)" if configuration.experiment.lora.modules_to_save else None
    parts.append(Part("adapters", len(runs), adapters, lower=whole))
    merged = [sizes[run.model].merged for run in runs]
    if configuration.experiment.keep_merged:
        parts.append(Part("merged models", len(runs), sum(merged), lower="keep_merged: false"))
    else:
        parts.append(Part("merged models, each until it is scored", *_largest(merged, at_once), lasting=False))
    # Of each run or trial at work; the oldest is deleted after the newest is whole.
    settings = [one for (model, *_), own in trainings(configuration) if model in sizes for one in own]
    checkpoints = [
        (one.training.save_total_limit + 1) * sizes[one.model].checkpoint(one, _item_bytes(one, site))
        for one in settings
    ]
    training, together = _largest(checkpoints, at_once)
    number = training * max((one.training.save_total_limit + 1 for one in settings), default=0)
    key = "training.save_total_limit: 1" if number > 2 * training else None
    parts.append(Part("checkpoints, until a run ends", number, together, lasting=False, lower=key))
    small, unknown = _small_files(configuration, results)
    return Disk([*parts, small], unknown)


def require_space(disk: Disk, results: Path) -> None:
    """Check that there is room for what is not there yet.

    Raises:
        SpaceError: there is less; the message names the largest parts and the keys that lower them.
    """
    free, there = free_bytes(results), bytes_below(results)
    needed = disk.peak - there
    if needed <= free:
        return
    largest = sorted(disk.parts, key=lambda part: -part.bytes)
    named = ", ".join(f"{shown(part.bytes)} {part.what}" for part in largest[:3])
    keys = [part.lower for part in largest if part.lower and part.bytes > disk.peak / 100]
    at_end = f", {shown(disk.end)} of it to keep" if disk.end < disk.peak else ""
    fix = f"set {', '.join(keys)}; " if keys else ""
    raise SpaceError(
        f"the plan needs up to {shown(disk.peak)} of disk space{at_end} ({named}); {shown(there)} are there, and "
        f"{shown(free)} are free",
        where=str(results.absolute()),
        fix=f"{fix}run fewer tasks, optimizers or seeds, or start where there is more room (snakemake --directory)",
    )


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the file system on which a folder lies or will lie."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(place).free


def bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def shown(size: float) -> str:
    """Return a number of bytes in the unit that suits it (1 GB = 10⁹ bytes)."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB" if size < 1000 else f"{size:,.0f} TB"


def _largest(sizes: list[int], at_once: int) -> tuple[int, int]:
    """Return how many of the jobs with these sizes can be at work, and what the largest of them take together."""
    chosen = sorted(sizes, reverse=True)[:at_once]
    return len(chosen), sum(chosen)


def _item_bytes(settings: FinetuneSettings, site: Site) -> int:
    precision = settings.training.precision
    full = precision == "fp32" or (precision == "auto" and not site.gpus)
    return _FP32 if full else _HALF


def _small_files(configuration: Configuration, results: Path) -> tuple[Part, list[str]]:
    """Return data, records, scores and the page, and what of them is not known."""
    total, unknown = _OF_REPORT, []
    splits = {name: rows.rows_of(configuration, name, results) for name in configuration.tasks}
    runs = configuration.runs()
    for name, task in configuration.tasks.items():
        split = splits[name]
        if split is None:
            unknown.append(name)
            continue
        predicted = sum(run.task == name for run in runs) + len(configuration.baselines)
        total += split.bytes_of(task.instruction, max(task.labels, key=len))
        total += predicted * split.test * (_OF_ITEM + _OF_LABEL * len(task.labels))
    for run in runs:
        split = splits[run.task]
        steps = steps_and_gradients(configuration.finetune_settings(run), split.train if split else None)
        total += _OF_RUN + _OF_STEP * (steps[0] if steps else 0)
    said = [f"the data of {', '.join(unknown)}"] if unknown else []
    return Part("data, scores and report", 1, total), said
