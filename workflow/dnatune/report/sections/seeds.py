"""Every run's score."""

from collections.abc import Mapping
from typing import Any

from dnatune.comparison.results import FinishedRun, Group
from dnatune.report import formatting, panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures import base, scores
from dnatune.settings.tasks import Task

#: Fewer are said to be few.
_ENOUGH_SEEDS = 5


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of every run."""
    runs = [run for group in evidence.groups for run in group.runs]
    return {
        "scores": _scores(evidence),
        "metric_of": {task.name: task.metric for task in evidence.tasks.values()},
        "runs": [(run, _run_score(run, evidence.tasks[run.task])) for run in runs],
    }


def cautions(evidence: Evidence) -> list[str]:
    """Return what is to be read with care because of how few seeds there are."""
    number = min(len(group.runs) for group in evidence.groups)
    if number >= _ENOUGH_SEEDS:
        return []
    said = {
        1: "One seed shows no spread. Another may give another order.",
        2: "Two seeds give no intervals. Three give wide ones, and five are better.",
    }
    many = formatting.in_word(number).capitalize()
    return [said.get(number, f"{many} seeds give wide intervals. Five are better.")]


def _run_score(run: FinishedRun, task: Task) -> str:
    score = run.metrics.score(task.metric)
    return "" if score is None else f"{formatting.metric_name(task.metric)} {formatting.score(score)}"


def _scores(evidence: Evidence) -> panels.Figure:
    """Return the figure of every seed's score."""

    def chart(task: Task, members: list[Group]) -> base.Drawing | None:
        if task.metric == "mcc" and evidence.only_class(task, "test"):
            return None
        controls = [
            (formatting.baseline_name(b.name), b.metrics.score(task.metric))
            for b in evidence.baselines_of(task)
            if b.model in (None, members[0].model)
        ]
        controls += reference_lines(evidence, task, members[0].model)
        rivals = [group for group in evidence.groups if group.task == task.name]
        name = formatting.metric_name(task.metric)
        return scores.score_chart(members, rivals, controls, task.metric, name, evidence.looks)

    return panels.figure(evidence, "scores", {"": chart})


def reference_lines(evidence: Evidence, task: Task, model: str) -> list[tuple[str, float]]:
    """Return (name, value) of the reference lines of one model and task: its base, and the best published figure."""
    base = [
        ("base model", one.metrics.score(task.metric))
        for one in evidence.zero_shots
        if (one.model, one.task) == (model, task.name) and one.metrics.score(task.metric) is not None
    ]
    figures = [one for one in evidence.published if one.task == task.name and task.metric in one.scores]
    best = max(figures, key=lambda one: one.scores[task.metric], default=None)
    return base + ([] if best is None else [(f"{best.model}, published", best.scores[task.metric])])
