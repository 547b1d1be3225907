"""The tables of the page: leaderboard, every run, confusion matrices."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.comparison.pooled_predictions import confusion_of
from dnatune.comparison.results import FinishedRun, Group
from dnatune.comparison.summary import comparison_text
from dnatune.data.tasks import Task
from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.report.sections import controls as controls_of
from dnatune.report.sections import drawings

_MOST_SEEDS_SHOWN = 4


def leaderboard(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of the tables that rank optimizers, one a task."""
    return {
        "leaderboards": [_leaderboard(task, evidence.groups, evidence.rows) for task in evidence.tasks.values()],
        "testing": evidence.settings["comparison"],
        "table": formatting.download(comparison_text(evidence.rows)),
    }


def seeds(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of every run."""
    runs = [run for group in evidence.groups for run in group.runs]
    return {
        "scores": drawings.scores(evidence),
        "lines": _lines(evidence),
        "ceiling": any(baseline.name == "bayes" for baseline in evidence.baselines),
        "metric_of": {task.name: task.metric for task in evidence.tasks.values()},
        "runs": [(run, _run_score(run, evidence.tasks[run.task])) for run in runs],
    }


def _lines(evidence: Evidence) -> str:
    """Return in words what the dashed lines of the figure of scores are; empty where there are none."""
    kinds = {
        "baselines": evidence.baselines,
        "the base model without fine-tuning": evidence.zero_shots,
        "the best published figure": [
            one for one in evidence.published if evidence.tasks[one.task].metric in one.scores
        ],
    }
    there = [kind for kind, found in kinds.items() if found]
    return formatting.listed(there) if there else ""


def confusion(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of confusion matrices."""
    return {
        "panels": [
            {"title": title, "confusions": [_confusion(group, task) for group in members]}
            for title, task, members in evidence.panels()
        ]
    }


def _leaderboard(task: Task, groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the rows of one task's table, highest mean first and those without any last."""

    def by_mean(entry: Mapping[str, Any]) -> float:
        return math.inf if entry["mean"] is None else -entry["mean"]

    members = [(group, row) for group, row in zip(groups, rows, strict=False) if group.task == task.name]
    # One column says one thing: where a row has too many seeds to be listed, all rows give their range.
    ranges = any(len(group.values(task.metric)) > _MOST_SEEDS_SHOWN for group, _ in members)
    runs = [
        {
            **row,
            "spread": _spread(group.values(task.metric), ranges),
            "diverged": len(group.runs) - len(group.completed),
        }
        for group, row in members
    ]
    controls = [
        {**row, "title": formatting.baseline_name(row["optimizer"])}
        for row in rows[len(groups) :]
        if row["task"] == task.name and row["model"] == "baseline"
    ]
    return {
        "controls": controls_of.leaderboard(task, rows[len(groups) :]),
        "task": task.name,
        "metric": formatting.metric_name(task.metric),
        "other": "f1_macro" if task.metric == "mcc" else "mcc",
        "other_name": formatting.metric_name("f1_macro" if task.metric == "mcc" else "mcc"),
        "spread": "seeds (range)" if ranges else "each seed",
        "runs": sorted(runs, key=by_mean),
        "baselines": sorted(controls, key=by_mean),
    }


def _spread(values: Sequence[float], ranges: bool) -> str:
    if ranges and len(values) > 1:
        return f"{formatting.score(min(values))} to {formatting.score(max(values))}"
    return "  ".join(map(formatting.score, values))


def _run_score(run: FinishedRun, task: Task) -> str:
    score = run.metrics[task.metric]
    return "" if score is None else f"{formatting.metric_name(task.metric)} {formatting.score(score)}"


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
