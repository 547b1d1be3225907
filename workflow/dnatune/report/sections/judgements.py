"""The sections of differences, of several tasks, of segments and of cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.comparison import across_tasks
from dnatune.comparison.pairwise import tests_text
from dnatune.comparison.results import Group
from dnatune.comparison.segments import segments_text
from dnatune.data.tasks import Task
from dnatune.report import figures, formatting
from dnatune.report.evidence import Evidence
from dnatune.report.sections import drawings


def differences(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section of paired differences; None where no optimizer has another to be compared with."""
    if not evidence.tests:
        return None
    margin = evidence.settings["comparison"]["equivalence_margin"]

    def chart(task: Task, members: list[Group]) -> figures.Drawing | None:
        rows = [row for row in evidence.tests if (row["model"], row["task"]) == (members[0].model, task.name)]
        return figures.forest_chart(rows, margin, formatting.metric_name(task.metric))

    return {
        "boards": boards(evidence),
        "forest": drawings.figure(evidence, "forest", {"": chart}),
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


def tasks(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section of optimizers over all tasks; None where there is one task."""
    if len(evidence.tasks) < 2:
        return None
    scores: dict[tuple[str, str], dict[str, list[float | None]]] = {}
    for group in evidence.groups:
        values = group.values(evidence.tasks[group.task].metric)
        if values:
            lost: list[float | None] = [None] * (len(group.runs) - len(values))
            values = [*values, *lost]
        scores.setdefault((group.model, group.optimizer), {})[group.task] = values
    kept = {
        key: [found[task] for task in evidence.tasks]
        for key, found in scores.items()
        if all(found.get(task) for task in evidence.tasks)
    }
    left_out = [_called(key, evidence) for key in scores if key not in kept]
    named = {_called(key, evidence): found for key, found in kept.items()}
    if not named:
        return {"standings": [], "profiles": None, "left_out": left_out, "level": None, "tasks": len(evidence.tasks)}
    standings = across_tasks.standings(named, evidence.settings["comparison"]["level"])
    places = list(evidence.tasks)
    withheld = [
        f"{standing.name} ({', '.join(places[place] for place in standing.short)})"
        for standing in standings
        if standing.short
    ]
    looks = figures.looks_for(_called(key, evidence) for key in scores)
    profiles = across_tasks.profiles(named)
    drawing = figures.profile_chart(profiles, "score: the metric of each task", looks)
    return {
        "standings": standings,
        "withheld": withheld,
        "fewest": across_tasks.FEWEST_SEEDS,
        "profiles": drawings.single("profiles", drawing),
        "left_out": left_out,
        "level": evidence.settings["comparison"]["level"],
        "tasks": len(evidence.tasks),
    }


def _called(key: tuple[str, str], evidence: Evidence) -> str:
    model, optimizer = key
    return f"{optimizer} on {model}" if evidence.several_models else optimizer


def segments(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of scores by segments of the test split: a column an optimizer."""
    boards = []
    for title, task, members in evidence.panels():
        rows = [r for r in evidence.segments if (r["model"], r["task"]) == (members[0].model, task.name)]
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


def cost(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of what the runs cost."""
    looks = evidence.looks

    def chart(task: Task, members: list[Group]) -> figures.Drawing | None:
        return figures.cost_chart(members, task.metric, formatting.metric_name(task.metric), looks)

    runs = [run for group in evidence.groups for run in group.runs]
    return {
        "figure_of_cost": drawings.figure(evidence, "cost", {"": chart}),
        "boards": [
            {"title": title, "rows": [_cost(group) for group in members]} for title, _, members in evidence.panels()
        ],
        "wall_seconds": sum(run.record["wall_seconds"] for run in runs),
        "gpu_hours": sum(run.record["gpu_seconds"] for run in runs) / 3600,
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
        "wall_seconds": mean([run.record["wall_seconds"] for run in runs]),
        "gpu_hours": mean([run.record["gpu_seconds"] / 3600 for run in runs]),
        "gradient_evaluations": mean([run.record["gradient_evaluations"] for run in runs]),
        "seconds_each": mean([run.record["wall_seconds"] / run.record["gradient_evaluations"] for run in runs]),
        "samples": mean([run.rate("samples_per_second") for run in runs]),
        "tokens": mean([run.rate("tokens_per_second") for run in runs]),
        "flops": mean(executed),
        "overhead": mean([run.overhead for run in runs]),
        "utilisation": mean([run.rate("model_flop_utilisation") for run in runs]),
    }
