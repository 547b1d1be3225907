"""Confusion matrices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnatune.comparison.pooled_predictions import confusion_of
from dnatune.comparison.results import Group
from dnatune.report.evidence import Evidence
from dnatune.settings.tasks import Task


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of confusion matrices."""
    return {
        "panels": [
            {"title": title, "confusions": [_confusion(group, task) for group in members]}
            for title, task, members in evidence.panels()
        ]
    }


def _confusion(group: Group, task: Task) -> dict[str, Any]:
    """Return the rows of one confusion matrix; each cell with its share of the true class."""
    if not group.completed:
        return {"optimizer": group.optimizer, "rows": []}
    counts = confusion_of(group)
    unparsable = bool(counts[:, -1].any())
    shown = counts if unparsable else counts[:, :-1]
    shares = shown / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return {
        "optimizer": group.optimizer,
        "seeds": len(group.completed),
        "columns": [*task.labels, *(["no label"] if unparsable else [])],
        "rows": [
            (label, [(int(n), round(float(share), 3)) for n, share in zip(line, part, strict=True)])
            for label, line, part in zip(task.labels, shown, shares, strict=True)
        ],
    }
