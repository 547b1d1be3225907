"""Loss and dev accuracy against what was spent."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.comparison.results import Group
from dnatune.report import panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures import training as curves
from dnatune.settings.tasks import Task


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of loss and dev accuracy against gradient evaluations, wall time and GPU-hours."""
    groups = evidence.groups
    on_gpu = any(run.record.gpu_seconds for group in groups for run in group.runs)
    axes = [curves.gradient_evaluations(), curves.wall_time(groups), *([curves.gpu_hours()] if on_gpu else [])]
    most = curves.points_each(groups)

    def chart(key: str, spent: curves.Spent) -> panels.Chart:
        return lambda _, members: curves.curve_chart(members, key, spent, evidence.looks, most)

    def against(key: str, spent: Sequence[curves.Spent]) -> panels.Figure:
        return panels.figure(evidence, key, {f"against {one.title}": chart(key, one) for one in spent})

    return {
        "loss": against("loss", axes),
        "dev_loss": against("dev_loss", axes[:1]),
        "dev_accuracy": against("dev_accuracy", axes),
        "lowest": [_lowest_dev_loss(*panel) for panel in evidence.panels()],
        "on_gpu": on_gpu,
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
