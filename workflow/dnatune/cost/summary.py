"""What a configuration costs, in words for a terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dnatune.cost.disk import Disk, shown
from dnatune.cost.training_time import Training
from dnatune.report import formatting
from dnatune.settings.experiment import Configuration
from dnatune.settings.site import Site

_NO_RATE = "no rate known"


def headline(configuration: Configuration, jobs: Mapping[str, int]) -> str:
    """Return the grid and the number of jobs in one line."""
    found = configuration.experiment
    factors = (
        (found.models, "model"),
        (configuration.tasks, "task"),
        (configuration.optimizers, "optimizer"),
        (found.seeds, "seed"),
    )
    grid = " × ".join(formatting.plural(len(names), noun) for names, noun in factors)
    runs = formatting.plural(len(configuration.runs()), "run")
    return f"{found.name}: {runs} ({grid}); {formatting.plural(sum(jobs.values()), 'job')} to do"


def tables(
    jobs: Mapping[str, int], training: Sequence[Training], disk: Disk, site: Site, at_once: int, free: int
) -> RenderableType:
    """Return the tables of jobs, of training and of disk space.

    Args:
        jobs: number of jobs by rule.
        training: cost of training by model, task and optimizer.
        disk: disk space.
        site: tells of GPUs and time limits.
        at_once: number of runs that train at once, at the most.
        free: free bytes where the results will lie.
    """
    return Group(
        _jobs(jobs), _training(training, site), *_notes(training, site, at_once), _disk(disk), *_space(disk, free)
    )


def _jobs(jobs: Mapping[str, int]) -> Table:
    table = _table("jobs to do", "rule", ">number")
    for rule, number in jobs.items():
        table.add_row(rule, formatting.count(number))
    return table


def _training(training: Sequence[Training], site: Site) -> Table:
    """Return the table of training, the tasks of a model and an optimizer summed."""
    unit = "GPU-hours" if site.gpus else "core-hours"
    table = _table("training, the whole grid", "model", "optimizer", ">runs and trials", ">gradients", f">{unit}")
    for model, optimizer in dict.fromkeys((one.model, one.optimizer) for one in training):
        own = [one for one in training if (one.model, one.optimizer) == (model, optimizer)]
        table.add_row(model, optimizer, *_sums(own, site))
    table.add_row("all", "", *_sums(training, site))
    return table


def _sums(training: Sequence[Training], site: Site) -> tuple[str, str, str]:
    gradients = [one.gradient_evaluations for one in training]
    seconds = [one.seconds for one in training]
    per_rank = 1 if site.gpus else site.cpus_per_rank
    return (
        formatting.count(sum(one.count for one in training)),
        "size of the data unknown" if None in gradients else formatting.count(sum(gradients)),
        _NO_RATE if None in seconds else f"{sum(seconds) * per_rank / 3600:,.3g}",
    )


def _notes(training: Sequence[Training], site: Site, at_once: int) -> list[Text]:
    speeds = dict.fromkeys((one.model, one.speed) for one in training if one.speed)
    said = [
        f"  {model}: {speed.examples_per_second:,.3g} examples/s and rank ({speed.source})" for model, speed in speeds
    ]
    if any(one.seconds is None for one in training):
        said.append(
            f"  {_NO_RATE}: finish one run of the model here, or state examples_per_second in the site file {site.path}"
        )
    said.append("  Hours are those of training alone, without start-up, scoring and merging.")
    longest = [one for one in training if one.longest is not None]
    if longest:
        one = max(longest, key=lambda one: one.longest)
        nodes, ranks = site.layout(one.optimizer)
        wall = one.longest / (nodes * ranks)
        named = f"{one.model}/{one.task}/{one.optimizer}"
        on = formatting.plural(nodes * ranks, "rank")
        said.append(f"  The longest run, {named}, takes {formatting.duration(wall)} on {on}.")
    limit = f"; a job may take {site.runtime}, and a run that needs longer goes on in the next" if site.slurm else ""
    said.append(f"  At most {formatting.plural(at_once, 'run')} at once{limit}.")
    return [Text(line) for line in said]


def _disk(disk: Disk) -> Table:
    table = _table("disk space", "files", ">number", ">together", "lowered by")
    for part in disk.parts:
        table.add_row(part.what, formatting.count(part.count), shown(part.bytes), part.lower or "")
    table.add_row("at the end", "", shown(disk.end))
    table.add_row("at the peak, at most", "", shown(disk.peak))
    return table


def _space(disk: Disk, free: int) -> list[Text]:
    unknown = [Text(f"  Not counted, because unknown: {', '.join(disk.unknown)}.")] if disk.unknown else []
    return [*unknown, Text(f"  Free where the results lie: {shown(free)}.")]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table
