"""The figures of the page: SVG, one panel for each model and task, with the data behind them."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from dnatune.comparison.pooled_predictions import has_probabilities
from dnatune.comparison.results import Group
from dnatune.data.tasks import Task
from dnatune.report import figures, formatting
from dnatune.report.evidence import Evidence
from dnatune.report.sections import controls as controls_of

_Chart = Callable[[Task, list[Group]], figures.Drawing | None]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of the page, and of a file of its own.

    Attributes:
        name: of the file, of its data's and of the names inside the SVG.
        drawings: (title, drawing) of each panel that has something to draw; the title is empty where there is one.
        data: the data as a download; None where there is nothing to draw.
        columns: panels side by side on a wide screen.
    """

    name: str
    drawings: Sequence[tuple[str, figures.Drawing]]
    data: str | None
    columns: int

    @functools.cached_property
    def panels(self) -> list[dict[str, Any]]:
        """Return what the page shows."""
        return [
            # The SVG is made here from data that the library escapes.
            {"title": title, "svg": Markup(figures.embedded(drawing.chart, f"{self.name}-{number}"))}  # noqa: S704
            for number, (title, drawing) in enumerate(self.drawings, start=1)
        ]

    @property
    def svg(self) -> str:
        """Return the figure as an image."""
        return figures.image([(title, drawing.chart) for title, drawing in self.drawings])


def figure(evidence: Evidence, name: str, charts: Mapping[str, _Chart]) -> Figure:
    """Return a figure with the panels of every model and task that have something to draw.

    Args:
        evidence: what the page is made from.
        name: of the figure; it begins the names inside the SVG.
        charts: by the panel's title, each draws the groups of one model and task; None where there is nothing to draw.
    """
    drawn = [
        (_title(title, kind, evidence, charts), (members[0].model, task.name), chart(task, members))
        for title, task, members in evidence.panels()
        for kind, chart in charts.items()
    ]
    there = [(title, place, drawing) for title, place, drawing in drawn if drawing is not None]
    data = _data([(place, drawing.data) for _, place, drawing in there])
    columns = len(charts) if len(charts) > 1 else 3 if len(there) % 3 == 0 else 2
    return Figure(name, [(title, drawing) for title, _, drawing in there], data, columns)


def single(name: str, drawing: figures.Drawing) -> Figure:
    """Return a figure that holds all tasks in one panel."""
    table = drawing.data.to_csv(sep="\t", index=False, float_format="%.5g", lineterminator="\n")
    return Figure(name, [("", drawing)], formatting.download(table), 1)


def _title(panel: str, kind: str, evidence: Evidence, charts: Mapping[str, _Chart]) -> str:
    """Return what tells a panel from the others of its figure; empty where there are no others."""
    several = len(list(evidence.panels())) > 1
    return ", ".join(([panel] if several else []) + ([kind] if len(charts) > 1 else []))


def _data(tables: Sequence[tuple[tuple[str, str], pd.DataFrame]]) -> str | None:
    if not tables:
        return None
    named = [table.assign(model=model, task=task) for (model, task), table in tables]
    whole = pd.concat(named, ignore_index=True)
    columns = ["model", "task", *(column for column in whole.columns if column not in ("model", "task"))]
    return formatting.download(whole[columns].to_csv(sep="\t", index=False, float_format="%.5g", lineterminator="\n"))


def scores(evidence: Evidence) -> Figure:
    """Return the figure of every seed's score."""

    def chart(task: Task, members: list[Group]) -> figures.Drawing | None:
        if task.metric == "mcc" and evidence.only_class(task, "test"):
            return None
        controls = [(formatting.baseline_name(b.name), b.metrics[task.metric]) for b in evidence.baselines_of(task)]
        controls += controls_of.lines(evidence, task, members[0].model)
        rivals = [group for group in evidence.groups if group.task == task.name]
        name = formatting.metric_name(task.metric)
        return figures.score_chart(members, rivals, controls, task.metric, name, evidence.looks)

    return figure(evidence, "scores", {"": chart})


def training(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of loss and dev accuracy against gradient evaluations, wall time and GPU-hours."""
    groups = evidence.groups
    on_gpu = any(run.record["gpu_seconds"] for group in groups for run in group.runs)
    axes = [figures.gradient_evaluations(), figures.wall_time(groups), *([figures.gpu_hours()] if on_gpu else [])]
    most = figures.points_each(groups)

    def chart(key: str, spent: figures.Spent) -> _Chart:
        return lambda _, members: figures.curve_chart(members, key, spent, evidence.looks, most)

    def against(key: str, spent: Sequence[figures.Spent]) -> Figure:
        return figure(evidence, key, {f"against {one.title}": chart(key, one) for one in spent})

    return {
        "loss": against("loss", axes),
        "dev_loss": against("dev_loss", axes[:1]),
        "dev_accuracy": against("dev_accuracy", axes),
        "lowest": [_lowest_dev_loss(*panel) for panel in evidence.panels()],
        "on_gpu": on_gpu,
        "diverged": any(run.diverged for group in groups for run in group.runs),
        "most_points": most,
    }


def _lowest_dev_loss(title: str, _: Task, members: Sequence[Group]) -> str | None:
    """Return, in words, whose dev loss was lowest when training ended."""
    ends: dict[str, float] = {}
    for group in members:
        last = [[row["dev_loss"] for row in run.log if row.get("dev_loss") is not None][-1:] for run in group.completed]
        if last and all(last):
            ends[group.optimizer] = float(np.mean([value for (value,) in last]))
    if len(ends) < 2:
        return None
    order = sorted(ends, key=ends.__getitem__)
    return f"{title}: " + ", ".join(f"{name} {ends[name]:.3f}" for name in order)


def calibration(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of accuracy against confidence, and of ROC curves."""
    return {
        "calibration": figure(
            evidence, "calibration", {"": lambda _, members: figures.calibration_chart(members, evidence.looks)}
        ),
        "roc": figure(evidence, "roc", {"": lambda _, members: figures.roc_chart(members, evidence.looks)}),
        "nothing": _why_no_calibration(evidence),
    }


def _why_no_calibration(evidence: Evidence) -> str:
    """Return why no group has a bin to draw."""
    completed = [run for group in evidence.groups for run in group.completed]
    if not completed:
        return "No log-probabilities: every run diverged."
    if not any(map(has_probabilities, completed)):
        return "No log-probabilities: the answers were decoded freely."
    return "Too few test items: no bin has 10 of them, even with all seeds together."
