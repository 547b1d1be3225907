"""How far an experiment is, as tables on a terminal and as one line."""

from collections import Counter
from collections.abc import Collection, Iterable
from statistics import fmean
from typing import get_args

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dnatune.progress.runs import ExperimentProgress, Progress, State
from dnatune.report import formatting


def tables(found: ExperimentProgress, every: bool) -> RenderableType:
    """Return a headline, what is trained now, the optimizers or every run, what failed, and where the report is.

    Args:
        found: the experiment.
        every: list every run instead of counting them by optimizer.
    """
    parts: list[RenderableType] = [Text(line(found), style="bold")]
    if found.training:
        parts.append(_now(found.training))
    parts.append(_every(found.runs) if every else _by_optimizer(found))
    if found.failures:
        parts.append(_failures(found))
    if found.report:
        parts.append(Text(f"report: {found.report}"))
    return Group(*parts)


def line(found: ExperimentProgress) -> str:
    """Return all that fits into one line."""
    parts = [f"{found.name}: {formatting.plural(len(found.runs), 'run')}: {_counted(found.runs)}"]
    if found.trials:
        parts.append(f"{_done(found.trials)} of {formatting.plural(len(found.trials), 'trial')} done")
    if found.pending:
        parts.append(f"{formatting.plural(found.pending, 'job')} in Slurm's queue")
    if found.failures:
        parts.append(f"{formatting.plural(len(found.failures), 'failed stage')}")
    return "; ".join(parts)


def _counted(runs: Collection[Progress]) -> str:
    counts = Counter(one.state for one in runs)
    return ", ".join(f"{counts[state]} {state}" for state in get_args(State) if counts[state])


def _done(trials: Collection[Progress]) -> int:
    return sum(one.state in ("trained", "diverged") for one in trials)


def _now(training: Iterable[Progress]) -> Table:
    table = _table("training now", "run", "step", "loss", "gradients/s", "time left", "by")
    for one in training:
        table.add_row(
            one.place,
            f"{one.step} of {one.steps or '?'}",
            _number(one.loss, ".4f"),
            _number(one.evaluations_per_second, ".3g"),
            formatting.duration(one.seconds_left) if one.seconds_left is not None else "",
            one.writer,
        )
    return table


def _by_optimizer(found: ExperimentProgress) -> Table:
    table = _table("runs", "optimizer", *(["trials done"] if found.trials else []), "runs", "mean score")
    for cell in dict.fromkeys(one.cell for one in found.runs):
        runs = [one for one in found.runs if one.cell == cell]
        tried = [one for one in found.trials if one.cell == cell]
        scores = [one.score for one in runs if one.score is not None]
        table.add_row(
            "/".join(cell),
            *([f"{_done(tried)} of {len(tried)}"] if found.trials else []),
            _counted(runs),
            formatting.score(fmean(scores)) if scores else "",
        )
    return table


def _every(runs: Iterable[Progress]) -> Table:
    table = _table("runs", "run", "state", "step", "score", "note")
    for one in runs:
        step = f"{one.step} of {one.steps or '?'}" if one.step else ""
        score = formatting.score(one.score) if one.score is not None else ""
        note = f"waits for {one.note}" if one.state == "waiting" and one.note else one.note
        table.add_row(one.place, one.state, step, score, note)
    return table


def _failures(found: ExperimentProgress) -> Table:
    table = _table("failed", "stage", "what", "to do")
    for one in found.failures:
        table.add_row(one.log, f"{one.what} ({one.where})" if one.where else one.what, one.fix or "")
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)
