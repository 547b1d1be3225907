"""The figures of the page: SVG, one panel for each model and task."""

from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
from markupsafe import Markup

from dnatune import figures
from dnatune.comparison import Group
from dnatune.report import controls as controls_of
from dnatune.report import words
from dnatune.report.evidence import Evidence
from dnatune.tasks import Task


def panels(
    evidence: Evidence, name: str, chart: Callable[[Task, list[Group]], alt.LayerChart | None]
) -> list[dict[str, Any]]:
    """Return title and SVG of a figure's panels; None in place of an SVG that there is nothing to draw in.

    Args:
        evidence: what the page is made from.
        name: of the figure; it begins the names inside the SVG.
        chart: draws the groups of one model and task.
    """
    drawn = [(title, chart(task, members)) for title, task, members in evidence.panels()]
    return [
        {
            "title": title,
            # The SVG is made here from data that the library escapes.
            "svg": None if one is None else Markup(figures.embedded(one, f"{name}-{number}")),  # noqa: S704
        }
        for number, (title, one) in enumerate(drawn, start=1)
    ]


def scores(evidence: Evidence) -> list[dict[str, Any]]:
    """Return the panels of every seed's score."""
    looks = figures.palette(evidence.groups)

    def chart(task: Task, members: list[Group]) -> alt.LayerChart:
        controls = [(words.baseline_name(b.name), b.metrics[task.metric]) for b in evidence.baselines_of(task)]
        controls += controls_of.lines(evidence, task, members[0].model)
        rivals = [group for group in evidence.groups if group.task == task.name]
        return figures.score_chart(members, rivals, controls, task.metric, words.metric_name(task.metric), looks)

    return panels(evidence, "scores", chart)


def loss(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of loss against gradient evaluations."""
    looks = figures.palette(evidence.groups)
    charts = {
        key: panels(evidence, key, lambda _, members, key=key: figures.curve_chart(members, key, looks))
        for key in ("loss", "dev_loss")
    }
    diverged = any(run.diverged for group in evidence.groups for run in group.runs)
    return {"charts": charts, "diverged": diverged, "most_points": figures.MOST_POINTS}


def calibration(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of accuracy against confidence."""
    looks = figures.palette(evidence.groups)
    return {"panels": panels(evidence, "calibration", lambda _, members: figures.calibration_chart(members, looks))}
