"""The paired differences of each model and task."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnatune.comparison.results import Group
from dnatune.comparison.verdict_rows import VerdictRow, tests_text
from dnatune.report import formatting, panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures import base, scores
from dnatune.settings.tasks import Task

#: Verdicts that leave open who is better.
UNDECIDED = ("inconclusive", "withheld")


def content(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section of paired differences; None where no optimizer has another to be compared with."""
    if not evidence.tests:
        return None
    margin = evidence.settings.comparison.equivalence_margin

    def chart(task: Task, members: list[Group]) -> base.Drawing | None:
        rows = evidence.pairs(members, task.metric)
        return scores.forest_chart(rows, margin, formatting.metric_name(task.metric))

    return {
        "boards": boards(evidence),
        "forest": panels.figure(evidence, "forest", {"": chart}),
        "testing": evidence.settings.comparison,
        "tests_table": formatting.download(tests_text(evidence.tests)),
    }


def boards(evidence: Evidence) -> list[dict[str, Any]]:
    """Return the pairs of each model and task, those that are decided first, and each optimizer against its control."""
    return [
        {
            "title": title,
            "metric": formatting.metric_name(task.metric),
            "pairs": sorted(_with_auroc(evidence, task, members), key=lambda pair: pair["verdict"] in UNDECIDED),
            "controls": evidence.pairs(members, task.metric, "control"),
        }
        for title, task, members in evidence.panels()
    ]


def _with_auroc(evidence: Evidence, task: Task, members: list[Group]) -> list[dict[str, Any]]:
    """Return the pairs by the task's metric, each with its difference of AUROC and the median of McNemar's p."""
    secondary = {(row.first, row.second): row for row in evidence.pairs(members, "auroc")}

    def shown(row: VerdictRow) -> dict[str, Any]:
        single = row.mcnemar_p
        median = float(np.median(single)) if single else None
        return {
            **vars(row),
            "approximate": row.approximate,
            "mcnemar": median,
            "auroc": secondary[row.first, row.second],
        }

    return [shown(row) for row in evidence.pairs(members, task.metric)]
