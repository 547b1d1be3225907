"""What the runs cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.comparison.results import Group
from dnatune.report import formatting, panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures import base, scores
from dnatune.settings.tasks import Task


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of what the runs cost."""
    looks = evidence.looks

    def chart(task: Task, members: list[Group]) -> base.Drawing | None:
        return scores.cost_chart(members, task.metric, formatting.metric_name(task.metric), looks)

    runs = [run for group in evidence.groups for run in group.runs]
    return {
        "figure_of_cost": panels.figure(evidence, "cost", {"": chart}),
        "boards": [
            {"title": title, "rows": [_cost(group) for group in members]} for title, _, members in evidence.panels()
        ],
        "wall_seconds": sum(run.record.wall_seconds for run in runs),
        "gpu_hours": sum(run.record.gpu_seconds for run in runs) / 3600,
        "runs": len(runs),
    }


def _cost(group: Group) -> dict[str, Any]:
    """Return means over the runs whose cost counts; diverged ones, cut short, only if there are no others."""
    runs = group.accountable

    def mean(values: Sequence[float | None]) -> float | None:
        return None if not values or None in values else float(np.mean(values))

    executed = [
        None
        if not run.log or any(row["executed_flops"] is None for row in run.log)
        else float(sum(row["executed_flops"] for row in run.log))
        for run in runs
    ]
    return {
        "optimizer": group.optimizer,
        "diverged": not group.completed,
        "wall_seconds": mean([run.record.wall_seconds for run in runs]),
        "gpu_hours": mean([run.record.gpu_seconds / 3600 for run in runs]),
        "gradient_evaluations": mean([run.record.gradient_evaluations for run in runs]),
        "seconds_each": mean([run.record.wall_seconds / run.record.gradient_evaluations for run in runs]),
        "samples": mean([run.rate("samples_per_second") for run in runs]),
        "tokens": mean([run.rate("tokens_per_second") for run in runs]),
        "flops": mean(executed),
        "overhead": mean([run.overhead for run in runs]),
        "utilisation": mean([run.rate("model_flop_utilisation") for run in runs]),
    }
