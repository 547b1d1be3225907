"""The first screen: who is best, by how much, how sure, better than the best control or not, what to read with care."""

from collections.abc import Mapping, Sequence
from typing import Any

from dnatune.comparison.results import Group
from dnatune.comparison.verdict_rows import VerdictRow
from dnatune.report import answers, cautions, formatting, panels, standings
from dnatune.report.evidence import Evidence
from dnatune.report.figures import base, scores
from dnatune.report.legends import LEGENDS
from dnatune.settings.tasks import Task

#: What the metrics are, said once.
_METRICS = {
    "mcc": "MCC, Matthews' correlation of predicted and true classes, is 1 for a perfect classifier and 0 for a guess.",
    "f1_macro": "Macro F1, the mean over the classes of each one's F1 score, is 1 for a perfect classifier.",
}
#: Cautions that are not folded.
_SHOWN = 3


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section that answers what the page is asked."""
    found = cautions.all_cautions(evidence)
    figure = panels.figure(evidence, "answer", {"": lambda task, members: _chart(evidence, task, members)})
    blocks = [_block(evidence, *panel) for panel in evidence.panels()]
    drawings = {panel["title"] or blocks[0]["title"]: panel["svg"] for panel in figure.panels}
    return {
        "overall": _overall(evidence) if len(blocks) > 1 else [],
        "blocks": [{**block, "svg": drawings.get(block["title"])} for block in blocks],
        "brief": [cautions.first_sentence(one) for one in found[:_SHOWN]],
        "more": len(found) - _SHOWN,
        "cautions": found,
        "metrics": [_METRICS[metric] for metric in dict.fromkeys(task.metric for task in evidence.tasks.values())],
        "figure": figure,
        "legend": LEGENDS["answer"],
        "testing": evidence.settings.comparison,
    }


def _block(evidence: Evidence, title: str, task: Task, members: Sequence[Group]) -> dict[str, Any]:
    """Return the lines of one model and task."""
    only = evidence.only_class(task, "test")
    rows = [*evidence.pairs(members, task.metric), *evidence.pairs(members, task.metric, "control")]
    standing = standings.of_groups(members, task.metric, rows)
    if only is not None:
        said = f"Every test item is of class {only}: no score tells classes apart there, and nothing is ranked."
        return {"title": title, "lines": [answers.Line("No answer.", said)]}
    if standing is None:
        return {"title": title, "lines": [answers.Line("No answer.", _why_none(members))]}
    own = next(row for row in evidence.of_panel(evidence.rows, members) if row["optimizer"] == standing.leader)
    group = next(one for one in members if one.optimizer == standing.leader)
    references = _references(evidence, task, members)
    rest = [
        answers.rivals_line(standing, evidence.settings.comparison.equivalence_margin),
        answers.control_line(standing, references.get("bayes"), references.get("base model")),
        answers.not_learnt(members),
    ]
    first = answers.first_line(standing, group, task.metric, own["auroc"], own["low"])
    return {"title": title, "lines": [first, *(answers.Line("", text) for text in rest if text)]}


def _why_none(members: Sequence[Group]) -> str:
    if not any(group.completed for group in members):
        return "Every run diverged, so there is no model to compare."
    return "No optimizer has a score."


def _overall(evidence: Evidence) -> list[answers.Line]:
    """Return one line per model and metric of several tasks; where there is none, how often each optimizer led."""
    margin = evidence.settings.comparison.equivalence_margin
    scopes: dict[tuple[str, tuple[str, ...]], list[VerdictRow]] = {}
    for row in evidence.tests:
        if len(row.tasks) > 1 and row.role == "primary":
            scopes.setdefault((row.model, row.tasks), []).append(row)
    found = [
        answers.over_all(standing, tasks, margin, model if evidence.several_models else None)
        for (model, tasks), rows in scopes.items()
        if (standing := standings.over_tasks(rows))
    ]
    return found or _count_of_firsts(evidence)


def _count_of_firsts(evidence: Evidence) -> list[answers.Line]:
    leaders = [
        standing.leader
        for _, task, members in evidence.panels()
        if (standing := standings.of_groups(members, task.metric, []))
    ]
    if not leaders:
        return []
    what = "model and task" if evidence.several_models else "task"
    if len(set(leaders)) == 1:
        return [answers.Line(f"{leaders[0]} scores highest on every {what}.", "")]
    counts = [f"{name} in {leaders.count(name)} of {len(leaders)}" for name in dict.fromkeys(leaders)]
    return [answers.Line("No optimizer leads everywhere.", f"Highest mean by {what}: {formatting.listed(counts)}.")]


def _references(evidence: Evidence, task: Task, members: Sequence[Group]) -> dict[str, float]:
    """Return the scores of the Bayes optimum and of the base model without fine-tuning, those that are known."""
    found = [("bayes", one.metrics) for one in evidence.baselines_of(task) if one.name == "bayes"]
    place = base.place_of(members[0])
    found += [("base model", one.metrics) for one in evidence.zero_shots if (one.model, one.task) == place]
    scored = {name: metrics.score(task.metric) for name, metrics in found}
    return {name: value for name, value in scored.items() if value is not None}


def _chart(evidence: Evidence, task: Task, members: list[Group]) -> base.Drawing | None:
    """Return every seed's score with mean and interval; None where nothing is ranked."""
    if evidence.only_class(task, "test") or not any(group.values(task.metric) for group in members):
        return None
    references = _references(evidence, task, members)
    lines = [(formatting.baseline_name(name), value) for name, value in references.items()]
    control = next(iter(evidence.pairs(members, task.metric, "control")), None)
    if control is not None and control.second_mean is not None:
        lines.append((f"{formatting.baseline_name(control.second)} (control)", control.second_mean))
    limits = {
        row["optimizer"]: (row["low"], row["high"])
        for row in evidence.of_panel(evidence.rows, members)
        if row["low"] is not None
    }
    name = formatting.metric_name(task.metric)
    return scores.score_chart(members, members, lines, task.metric, name, evidence.looks, limits)
