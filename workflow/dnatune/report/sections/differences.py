"""The paired differences of each model and task."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnatune.comparison.pairwise import tests_text
from dnatune.comparison.results import Group
from dnatune.data.tasks import Task
from dnatune.report import figures, formatting, panels
from dnatune.report.evidence import Evidence


def content(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section of paired differences; None where no optimizer has another to be compared with."""
    if not evidence.tests:
        return None
    margin = evidence.settings["comparison"]["equivalence_margin"]

    def chart(task: Task, members: list[Group]) -> figures.Drawing | None:
        rows = [row for row in evidence.tests if (row["model"], row["task"]) == (members[0].model, task.name)]
        return figures.forest_chart(rows, margin, formatting.metric_name(task.metric))

    return {
        "boards": boards(evidence),
        "forest": panels.figure(evidence, "forest", {"": chart}),
        "testing": evidence.settings["comparison"],
        "tests_table": formatting.download(tests_text(evidence.tests)),
    }


def boards(evidence: Evidence) -> list[dict[str, Any]]:
    """Return the pairs of each model and task, those that are decided first."""
    return [
        {
            "title": title,
            "metric": formatting.metric_name(task.metric),
            "pairs": sorted(
                (
                    {**row, "mcnemar": float(np.median(single)) if single else None}
                    for row in evidence.tests
                    if (row["model"], row["task"]) == (members[0].model, task.name)
                    for single in [[float(p) for p in row["mcnemar_p"].split()]]
                ),
                key=lambda pair: pair["verdict"] == "inconclusive",
            ),
        }
        for title, task, members in evidence.panels()
    ]
