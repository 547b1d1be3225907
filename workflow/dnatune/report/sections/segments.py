"""Scores by segments of the test split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.comparison.segments import segments_text
from dnatune.report import formatting
from dnatune.report.evidence import Evidence


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of scores by segments of the test split: a column an optimizer."""
    boards = []
    for title, task, members in evidence.panels():
        rows = evidence.of_panel(evidence.segments, members)
        names = list(dict.fromkeys(row["segment"] for row in rows))
        optimizers = [group.optimizer for group in members if group.completed]
        table = {(row["segment"], row["optimizer"]): row for row in rows}
        lines = [
            {
                "segment": name,
                "size": next(row["items"] for row in rows if row["segment"] == name),
                # A class alone has no correlation; the share that is right is its recall.
                "accuracy": name.startswith("class "),
                "cells": [
                    table[name, optimizer]["accuracy" if name.startswith("class ") else "score"]
                    for optimizer in optimizers
                ],
            }
            for name in names
        ]
        boards.append(
            {
                "title": title,
                "metric": formatting.metric_name(task.metric),
                "optimizers": optimizers,
                "lines": lines,
                "uneven": _uneven(lines, optimizers),
            }
        )
    return {"boards": boards, "table": formatting.download(segments_text(evidence.segments))}


def _uneven(lines: Sequence[Mapping[str, Any]], optimizers: Sequence[str]) -> str | None:
    """Return, in words, the segment in which the optimizers together are weakest, and their mean there."""
    means = [
        (float(np.mean(line["cells"])), line["segment"])
        for line in lines
        if not line["accuracy"] and optimizers and None not in line["cells"]
    ]
    if len(means) < 2:
        return None
    (low, weakest), (high, strongest) = min(means), max(means)
    return f"weakest on {weakest} ({formatting.score(low)}), strongest on {strongest} ({formatting.score(high)})"
