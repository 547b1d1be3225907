"""The tables that rank optimizers, one per task, with baselines, base models and published figures below."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dnatune.comparison.comparability import FLAGS
from dnatune.comparison.references import CENTRED, ZERO_SHOT
from dnatune.comparison.results import FROZEN, FinishedRun, Group
from dnatune.comparison.summary import comparison_text
from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.settings.tasks import Task

_MOST_SEEDS_SHOWN = 4


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of the tables that rank optimizers, one a task."""
    return {
        "leaderboards": [_leaderboard(task, evidence.groups, evidence.rows) for task in evidence.tasks.values()],
        "testing": evidence.settings.comparison,
        "heads": bool(evidence.classifiers),
        "comparable": _comparable(evidence),
        "table": formatting.download(comparison_text(evidence.rows)),
    }


def _comparable(evidence: Evidence) -> str | None:
    """Return which columns compare across models of both heads; None where all models have one head."""
    classifiers = evidence.classifiers
    if not classifiers or {group.model for group in evidence.groups} == set(classifiers):
        return None
    names, verb = formatting.listed(classifiers), "has" if len(classifiers) == 1 else "have"
    return (
        f"{names} {verb} a classification head and the other models answer with label words: scores on the test items "
        "compare across both, and so do steps and epochs; losses, which count label tokens or items, wall times and "
        "learning rates do not, and optimizers are tested against each other within a model only."
    )


def _leaderboard(task: Task, groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the rows of one task's table, highest mean first and those without any last."""
    members = [(group, row) for group, row in zip(groups, rows, strict=False) if group.task == task.name]
    # One column says one thing: where a row has too many seeds to be listed, all rows give their range.
    ranges = any(len(group.values(task.metric)) > _MOST_SEEDS_SHOWN for group, _ in members)
    runs = [
        {
            **row,
            "spread": _spread(group.values(task.metric), ranges),
            "diverged": len(group.runs) - len(group.completed),
            "badges": [
                *(FLAGS[word].badge for word in row["flags"].split() if word == "class_shares_only"),
                *_kept(group.completed),
            ],
        }
        for group, row in members
    ]
    controls = [
        {**row, "title": formatting.baseline_name(row["optimizer"])}
        for row in rows[len(groups) :]
        if row["task"] == task.name and row["model"] == "baseline"
    ]
    other = "f1_macro" if task.metric == "mcc" else "mcc"
    return {
        "controls": _controls(task, rows[len(groups) :]),
        "task": task.name,
        "metric": formatting.metric_name(task.metric),
        "other": other,
        "other_name": formatting.metric_name(other),
        "spread": "seeds (range)" if ranges else "each seed",
        "runs": _by_mean(runs),
        "baselines": _by_mean(controls),
    }


def _kept(runs: Sequence[FinishedRun]) -> list[str]:
    """Return which steps are kept, in words; nothing where it is the last of each run."""
    steps = sorted(run.record.kept_step for run in runs if run.record.keeps_best)
    if not steps:
        return []
    return [f"keeps the best step on dev: {f'{steps[0]} to {steps[-1]}' if steps[0] < steps[-1] else steps[0]}"]


def _by_mean(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: math.inf if row["mean"] is None else -row["mean"])


def _spread(values: Sequence[float], ranges: bool) -> str:
    if ranges and len(values) > 1:
        return f"{formatting.score(min(values))} to {formatting.score(max(values))}"
    return "  ".join(map(formatting.score, values))


def _controls(task: Task, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return groups of rows that stand below a task's baselines: a title and rows each.

    Args:
        task: the task.
        rows: those of comparison.tsv behind the runs.
    """
    own = [row for row in rows if row["task"] == task.name]
    base = [{**row, "title": row["model"]} for row in own if row["optimizer"] == ZERO_SHOT]
    base += [
        {**row, "title": f"{row['model']}, each label less its mean"} for row in own if row["optimizer"] == CENTRED
    ]
    base += [
        {**row, "title": f"{row['model']}, logistic regression on its hidden states"}
        for row in own
        if row["optimizer"] == FROZEN
    ]
    others = [{**row, "title": row["optimizer"]} for row in own if row["model"] == "published"]

    groups = [
        {"title": "base models without fine-tuning", "rows": _by_mean(base)},
        {"title": "published figures, of other models and budgets", "rows": _by_mean(others)},
    ]
    return [group for group in groups if group["rows"]]
