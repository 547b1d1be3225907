"""Accuracy against confidence, and ROC curves."""

from collections.abc import Mapping
from typing import Any

from dnatune.comparison.pooled_predictions import has_probabilities
from dnatune.report import panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures import scores


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of accuracy against confidence, and of ROC curves."""
    return {
        "calibration": panels.figure(
            evidence, "calibration", {"": lambda _, members: scores.calibration_chart(members, evidence.looks)}
        ),
        "roc": panels.figure(evidence, "roc", {"": lambda _, members: scores.roc_chart(members, evidence.looks)}),
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
