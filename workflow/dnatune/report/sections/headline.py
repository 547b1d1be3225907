"""What was found in each task, and what has to be read with care."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.comparison.comparability import UNEQUAL_TERMS
from dnatune.comparison.results import FinishedRun, Group
from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.report.sections import contamination, plan
from dnatune.settings.tasks import Task

#: What each split is called, and what follows where all its items are of one class.
_LACKING = {
    "train": ("training", "so there was nothing to tell apart"),
    "dev": ("dev", "so there is no dev MCC, and dev loss and accuracy say how often that class is named"),
    "test": ("test", "so MCC and AUROC say nothing there"),
}
#: Share of test items with relatives in training above which the headline says so.
_MOST_RELATED = 0.05


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of what was found in each task, and of what to read with care."""
    cautions = [*contamination.cautions(evidence), *plan.cautions(evidence), *_cautions(evidence)]
    return {"findings": _findings(evidence), "cautions": cautions}


def _findings(evidence: Evidence) -> list[dict[str, Any]]:
    """Return one finding a task: its name and the sentences that say what was found."""
    findings = []
    for task in evidence.tasks.values():
        members = [group for group in evidence.groups if group.task == task.name]
        if members:
            only = evidence.only_class(task, "test")
            sentences = (
                _sentences(task, members, evidence)
                if only is None
                else [f"Every test item is of class {only}: no score tells classes apart there, and nothing is ranked."]
            )
            findings.append({"task": task.name, "sentences": list(sentences)})
    return findings


def _sentences(task: Task, groups: Sequence[Group], evidence: Evidence) -> Iterator[str]:
    baselines = evidence.baselines_of(task)
    metric = formatting.metric_name(task.metric)
    ranked = sorted(
        ((float(np.mean(values)), group) for group in groups if (values := group.values(task.metric))),
        key=lambda item: -item[0],
    )
    if not ranked:
        yield "Every run diverged, so there is no model to compare."
        return

    def called(group: Group) -> str:
        return evidence.called(group.model, group.optimizer)

    best, winner = ranked[0]
    ties = [group for mean, group in ranked if math.isclose(mean, best, abs_tol=5e-4)]
    amount = f"{formatting.score(best)} ({_seeds_in_words(winner, task.metric)})"
    if len(groups) == 1:
        yield f"{called(winner)} reached a mean {metric} of {amount}."
    elif len(ranked) == 1:
        yield f"{called(winner)} alone has a result: a mean {metric} of {amount}."
    elif len(ties) > 1:
        names = formatting.listed(map(called, ties))
        yield f"{names} share the highest mean {metric} of {len(groups)} compared, {amount}."
    else:
        second, next_best = ranked[1]
        yield (
            f"{called(winner)} has the highest mean {metric} of {len(groups)} compared, {amount}; next is"
            f" {called(next_best)}, {formatting.score(best - second)} lower at {formatting.score(second)}"
            f" ({_seeds_in_words(next_best, task.metric)})."
        )
    controls = sorted((b for b in baselines if b.name != "bayes"), key=lambda b: b.metrics.score(task.metric))
    below = [b for b in controls if b.metrics.score(task.metric) < best]
    above = [b for b in controls if b.metrics.score(task.metric) >= best]
    # Nothing tests these differences, so that the sentence says no more than which number is higher.
    scores = {b.name: formatting.score(b.metrics.score(task.metric)) for b in controls}
    places = [
        f"{word} the baseline{'s' if len(part) > 1 else ''}"
        f" {formatting.listed(f'{formatting.baseline_name(b.name)} ({scores[b.name]})' for b in part)}"
        for word, part in (("above", below), ("not above", above))
        if part
    ]
    if places:
        yield f"The mean of {called(winner)} is {', but '.join(places)}; Verdict tests it against the control alone."
    ceiling = next((b.metrics.score(task.metric) for b in baselines if b.name == "bayes"), None)
    if ceiling is not None and ceiling > 0:
        yield (
            f"The Bayes optimum, the most that any classifier can reach on average on these simulated data,"
            f" is {formatting.score(ceiling)} on this test split; {called(winner)} reached"
            f" {formatting.percent(best / ceiling)} of it."
        )


def _seeds_in_words(group: Group, metric: str) -> str:
    values = group.values(metric)
    if len(group.runs) == 1:
        return "1 seed, so the spread is unknown"
    number = f"{len(values)} of {len(group.runs)}" if len(values) < len(group.runs) else f"{len(values)}"
    return f"{number} seeds" + (
        f", {formatting.score(min(values))} to {formatting.score(max(values))}" if len(values) > 1 else ""
    )


def _cautions(evidence: Evidence) -> list[str]:
    """Return in plain words what every flag and every divergence means."""
    raised = [(row, word) for row in evidence.rows for word in (row["flags"] or "").split() if word in UNEQUAL_TERMS]
    places = [evidence.title(row["model"], row["task"]) for row, _ in raised]
    unequal = [
        f"Not on equal terms{'' if word == 'mixed_code' else f' on {place}'}: {UNEQUAL_TERMS[word].meaning}."
        for (_, word), place in zip(raised, places, strict=True)
    ]
    lacking = [sentence for task in evidence.tasks.values() for sentence in _missing_classes(task, evidence)]
    lossy = [run for group in evidence.groups for run in group.completed if run.merge.storage.lossy]
    if lossy:
        lacking.append(_lossy(lossy))
    lost = [group for group in evidence.groups if len(group.completed) < len(group.runs)]
    return [
        *dict.fromkeys([*unequal, *related_items(evidence), *lacking]),
        *(_divergence(group, f" on {evidence.title(group.model, group.task)}") for group in lost),
    ]


def _lossy(runs: Sequence[FinishedRun]) -> str:
    """Return that the merged models of some runs are not what was trained."""
    worst = max(runs, key=lambda run: run.merge.storage.update_error)
    storage = worst.merge.storage
    return (
        f"Merged models: rounding to {storage.dtype} changed what was trained in"
        f" {formatting.plural(len(runs), 'merged model')}, the most in {worst.record.place}, which keeps"
        f" {storage.update_kept:.3f} of the update with an error of {storage.update_error:.3f} and gives"
        f" {worst.merge.labels_changed} of {worst.merge.items} items another label. All scores here are of the models"
        f" as trained; merge: {{dtype: fp32}} stores them so."
    )


def related_items(evidence: Evidence) -> list[str]:
    """Return a caution for each task in which training has relatives of more than 5 % of the test items."""
    shares = [(name, evidence.audits[name].related_share) for name in evidence.tasks]
    return [
        f"Memory: {formatting.percent(share)} of the test items of {name} have a twin in training or share a word of"
        " 30 bp with it, so that a score there may be memory: the baseline memory of training and the scores by segment"
        " tell."
        for name, share in shares
        if share > _MOST_RELATED
    ]


def _missing_classes(task: Task, evidence: Evidence) -> Iterator[str]:
    """Yield what it means that splits lack classes of the task."""
    for split, (name, meaning) in _LACKING.items():
        only = evidence.only_class(task, split)
        rows = evidence.audits[task.name].classes[split]
        if only is not None:
            yield f"One class: every {name} item of {task.name} is of class {only}, {meaning}."
        elif missing := [label for label in task.labels if not rows[label]]:
            yield f"Missing class: no {name} item of {task.name} is of class {' or '.join(missing)}."


def _divergence(group: Group, place: str) -> str:
    diverged = [(run.seed, run.record.diverged) for run in group.runs if run.diverged]
    ends = "; ".join(
        f"seed {seed} at step {formatting.count(end.step)}, because {end.reason} (loss"
        f" {formatting.magnitude(end.loss)}, gradient norm {formatting.magnitude(end.gradient_norm)})"
        for seed, end in diverged
    )
    count = f"{len(diverged)} of {formatting.plural(len(group.runs), 'seed')}"
    return f"{group.optimizer} diverged{place} with {count}, which no mean counts: {ends}."
