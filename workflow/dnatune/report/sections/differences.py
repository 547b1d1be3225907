"""The paired differences of each model and task."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnatune.comparison.pairwise import tests_text
from dnatune.comparison.results import Group
from dnatune.report import formatting, panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures import base, scores
from dnatune.settings.tasks import Task


def content(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section of paired differences; None where no optimizer has another to be compared with."""
    if not evidence.tests:
        return None
    margin = evidence.settings.comparison.equivalence_margin

    def chart(task: Task, members: list[Group]) -> base.Drawing | None:
        rows = evidence.of_panel(evidence.tests, members)
        return scores.forest_chart(rows, margin, formatting.metric_name(task.metric))

    return {
        "boards": boards(evidence),
        "forest": panels.figure(evidence, "forest", {"": chart}),
        "testing": evidence.settings.comparison,
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
                    for row in evidence.of_panel(evidence.tests, members)
                    for single in [[float(p) for p in row["mcnemar_p"].split()]]
                ),
                key=lambda pair: pair["verdict"] == "inconclusive",
            ),
        }
        for title, task, members in evidence.panels()
    ]
