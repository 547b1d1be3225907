"""The choice of a learning rate among trials on dev data, and what a search of another size would have found."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnatune.comparison.summary import table_text
from dnatune.errors import DataError
from dnatune.files import read_json_lines
from dnatune.settings.rate_choice import Choice, TriedRate
from dnatune.settings.tuning import ChooseSettings
from dnatune.training.record import Run

#: Fewer dev items than this are said to be few: an accuracy then has a standard error of .035 and more.
FEWEST_DEV_ITEMS = 200
_SCORES = ("dev_loss", "dev_accuracy", "dev_mcc", "dev_f1_macro")


@dataclasses.dataclass(frozen=True)
class Trial:
    """One learning rate, tried.

    Attributes:
        record: run.json.
        scores: dev scores behind the step that it keeps, by name; empty when the trial diverged. The MCC is None where
            the dev items are all of one class.
    """

    record: Run
    scores: Mapping[str, float | None]

    @property
    def rate(self) -> float:
        """Return the learning rate."""
        return self.record.learning_rate

    @property
    def diverged(self) -> bool:
        """Return whether the trial ended in divergence."""
        return self.record.diverged is not None


def read_trial(record: Path, log: Path) -> Trial:
    """Read a trial.

    Args:
        record: run.json.
        log: training.jsonl.

    Raises:
        DataError: a file is missing, or the log of a completed trial has no dev scores at the step that it keeps.
    """
    run = Run.read(record)
    if run.diverged:
        return Trial(run, {})
    rows = read_json_lines(log)
    kept = run.steps if run.kept_step is None else run.kept_step
    row = next((row for row in rows if row.get("step") == kept), {})
    if any(key not in row or (row[key] is None and key != "dev_mcc") for key in _SCORES):
        raise DataError(
            f"step {kept} has no scores on the dev split",
            where=str(log),
            fix="the dev split must have at least one row; then delete the trial's folder, it is made again",
        )
    return Trial(run, {key: row[key] for key in _SCORES})


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A learning rate that may be chosen, with its trials: one each after the first step, two after the second."""

    rate: float
    trials: tuple[Trial, ...]

    @property
    def diverged(self) -> bool:
        """Return whether a trial diverged; a rate that one seed cannot follow has no mean."""
        return any(trial.diverged for trial in self.trials)

    @property
    def steps(self) -> int:
        """Return the steps that its trials lasted."""
        return sum(trial.record.steps for trial in self.trials)

    def score(self, metric: str) -> float | None:
        """Return the mean of a dev score over the trials; None if one diverged or lacks it."""
        values = [trial.scores.get(metric) for trial in self.trials]
        return None if None in values else math.fsum(values) / len(values)


def choose(trials: Sequence[Trial], truth: Sequence[int], settings: ChooseSettings) -> Choice:
    """Return the trials and the rate with the best score.

    After the first step each rate has one trial. If there is a second step, it alone decides, by the mean over its
    seeds, because the best of the first is partly the luckiest of many. Equal scores are told apart by the dev loss,
    then the lower rate is taken. A rate that diverged with any seed comes after those that did not. Where all did,
    which is a result, the rate that lasted longest is taken: the optimizer's runs then show it. Dev items of one class
    have no MCC: the dev loss takes its place, and `metric` says so.

    Args:
        trials: those of the first step and, if there is one, of the second.
        truth: class indices of the dev items that were scored.
        settings: whose rate it is, and what it is chosen by.

    Raises:
        DataError: a trial is of something else.
    """
    place = (settings.model, settings.task, settings.optimizer)
    for trial in trials:
        found = (trial.record.model, trial.record.task, trial.record.optimizer)
        if found != place:
            raise DataError(
                f"a trial of {'/'.join(found)} among those of {'/'.join(place)}",
                where="command line, --records",
                fix="name the trials of one optimizer",
            )
    # Of the items, so that all optimizers of a task are chosen by the same, whatever became of their trials.
    undefined = settings.metric == "dev_mcc" and len(set(truth)) == 1
    metric = "dev_loss" if undefined else settings.metric
    coarse = [trial for trial in trials if trial.record.seed == settings.seed]
    fine = [trial for trial in trials if trial.record.seed != settings.seed]
    candidates = _candidates(fine or coarse)
    best = _best(candidates, metric)
    line = trials[0].record.class_share_loss
    warnings = _warnings(trials, candidates, best, truth, settings.labels, metric, line)
    ordered = [
        *sorted(coarse, key=lambda trial: trial.rate),
        *sorted(fine, key=lambda one: (one.rate, one.record.seed)),
    ]
    return Choice(
        model=settings.model,
        task=settings.task,
        optimizer=settings.optimizer,
        metric=metric,
        learning_rate=best.rate,
        score=best.score(metric),
        class_share_loss=line,
        dev_items=len(truth),
        warnings=[*warnings, *(["undefined_metric"] if undefined else [])],
        trials=[_entry(trial, trial in coarse, any(trial is one for one in best.trials)) for trial in ordered],
    )


def _candidates(trials: Sequence[Trial]) -> list[Candidate]:
    by_rate: dict[float, list[Trial]] = {}
    for trial in trials:
        by_rate.setdefault(trial.rate, []).append(trial)
    return [Candidate(rate, tuple(found)) for rate, found in sorted(by_rate.items())]


def _best(candidates: Sequence[Candidate], metric: str) -> Candidate:
    completed = [one for one in candidates if not one.diverged]
    if not completed:
        return min(candidates, key=lambda one: (-one.steps, one.rate))

    def order(one: Candidate) -> tuple[float, float, float]:
        return -merit(one.score(metric), metric), one.score("dev_loss"), one.rate

    return min(completed, key=order)


def merit(score: float, metric: str) -> float:
    """Return a score such that more is better."""
    return -score if metric == "dev_loss" else score


def _warnings(
    trials: Sequence[Trial],
    candidates: Sequence[Candidate],
    best: Candidate,
    truth: Sequence[int],
    labels: Sequence[str],
    metric: str,
    line: float | None,
) -> list[str]:
    rates = [trial.rate for trial in trials]
    scores = [one.score(metric) for one in candidates if not one.diverged]
    checks = {
        "all_diverged": not scores,
        "lowest_rate": bool(scores) and best.rate == min(rates),
        "highest_rate": bool(scores) and best.rate == max(rates),
        "some_diverged": bool(scores) and any(trial.diverged for trial in trials),
        "tied": bool(scores) and scores.count(best.score(metric)) > 1,
        "few_dev_items": len(truth) < FEWEST_DEV_ITEMS,
        "missing_dev_classes": len(set(truth)) < len(labels),
        "class_shares_only": bool(scores) and line is not None and best.score("dev_loss") >= line,
    }
    return [word for word, raised in checks.items() if raised]


def _entry(trial: Trial, coarse: bool, chosen: bool) -> TriedRate:
    record = trial.record
    return TriedRate(
        learning_rate=trial.rate,
        search="coarse" if coarse else "fine",
        seed=record.seed,
        status=record.status,
        chosen=chosen,
        **{key: trial.scores.get(key) for key in _SCORES},
        **{key: getattr(record, key) for key in ("steps", "gradient_evaluations", "wall_seconds", "gpu_seconds")},
        ended=record.diverged.reason if record.diverged else None,
    )


def expected_best(values: Sequence[float]) -> list[float]:
    """Return the expected maximum of n draws with replacement from N values, for n = 1 … N.

    This is the plug-in estimator of Dodge et al. 2019 (arXiv 1909.03004): Σ v · (P(V ≤ v)ⁿ − P(V < v)ⁿ) over the
    observed values v. It takes trials for independent draws from one search; of a grid it says what that many of
    its rates, drawn blindly, would have found.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    below = np.arange(len(ordered) + 1) / len(ordered)
    return [float(ordered @ np.diff(below**draws)) for draws in range(1, len(ordered) + 1)]


def expected_curves(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Return the expected best dev score of each optimizer of one model and task against the trials it costs.

    Trials of a second step are left out, because their rates follow from the first. A diverged trial has no score and
    counts as the worst score of any trial of these optimizers.

    Args:
        choices: choice.json of the optimizers of one model and task.

    Returns:
        Rows of `optimizer`, `trials`, `gradient_evaluations` (of that many trials, at their mean cost) and `score`; no
        rows where every trial of every optimizer diverged.
    """
    merits = [[_merit_of(trial, choice.metric) for trial in choice.coarse] for choice in choices]
    known = [value for values in merits for value in values if value is not None]
    rows = []
    for choice, values in zip(choices, merits, strict=True):
        if known:
            cost = np.mean([trial.gradient_evaluations for trial in choice.coarse])
            filled = [min(known) if value is None else value for value in values]
            for count, value in enumerate(expected_best(filled), start=1):
                # `merit` is its own inverse.
                score = merit(value, choice.metric)
                row = {"optimizer": choice.optimizer, "trials": count}
                rows.append({**row, "gradient_evaluations": float(cost * count), "score": score})
    return rows


def _merit_of(trial: TriedRate, metric: str) -> float | None:
    score = trial.score(metric)
    return None if score is None else merit(score, metric)


def tuning_text(choices: Sequence[Choice]) -> str:
    """Return the text of tuning.tsv: a row a trial."""
    place = ("model", "task", "optimizer")
    rows = [
        {key: getattr(choice, key) for key in place} | dict(trial) | {"chosen": "yes" if trial.chosen else "no"}
        for choice in choices
        for trial in choice.trials
    ]
    return table_text((*place, *TriedRate.model_fields), rows)


def fine_scores(choice: Choice) -> list[tuple[float, float | None]]:
    """Return the rates of a second step, rising, and the mean of each one's scores; None if it diverged with a seed."""
    by_rate: dict[float, list[float | None]] = {}
    for trial in choice.fine:
        by_rate.setdefault(trial.learning_rate, []).append(trial.score(choice.metric))
    return [(rate, None if None in found else math.fsum(found) / len(found)) for rate, found in by_rate.items()]


def remarks(choice: Choice) -> list[str]:
    """Return what is to be said of an optimizer's choice, in plain words."""
    rates = ", ".join(f"{rate:g}" for rate in dict.fromkeys(trial.learning_rate for trial in choice.trials))
    lost = ", ".join(
        f"{rate:g}" for rate in dict.fromkeys(one.learning_rate for one in choice.trials if one.status == "diverged")
    )
    chosen = f"{choice.learning_rate:g}"
    everything = (
        f"Every rate of the second step diverged with a seed ({lost})"
        if choice.fine
        else f"Every trial diverged ({rates})"
    )
    sentences = {
        "all_diverged": f"{everything}. The runs took {chosen}, which lasted longest; they say"
        " nothing of the optimizer at a rate that suits it. Try lower rates.",
        "lowest_rate": f"The best rate, {chosen}, is the lowest tried: a lower one may be better.",
        "highest_rate": f"The best rate, {chosen}, is the highest tried: a higher one may be better.",
        "some_diverged": f"Trials diverged: {lost}.",
        "tied": f"Another rate scored the same as {chosen}; the dev loss, then the lower rate, decided.",
    }
    if "class_shares_only" in choice.warnings:
        loss = math.fsum(found := [trial.dev_loss for trial in choice.trials if trial.chosen]) / len(found)
        sentences["class_shares_only"] = (
            f"At {chosen} the model knows nothing beyond class shares: its dev loss, {loss:.4g}, is not below"
            f" {choice.class_share_loss:.4g}, that of knowing only how frequent each class is. Train longer or try"
            " other rates."
        )
    return [sentence for word, sentence in sentences.items() if word in choice.warnings]


def flags(choices: Sequence[Choice]) -> dict[tuple[str, str, str], list[str]]:
    """Return the flags of comparison.tsv that a search raises, by model, task and optimizer."""
    found = {}
    for choice in choices:
        peers = [peer for peer in choices if (peer.model, peer.task) == (choice.model, choice.task)]
        checks = {
            "unequal_search": len({(len(peer.coarse), len(peer.fine)) for peer in peers}) > 1,
            "class_shares_only": "class_shares_only" in choice.warnings,
        }
        found[choice.model, choice.task, choice.optimizer] = [word for word, raised in checks.items() if raised]
    return found


def cost(choices: Sequence[Choice]) -> float:
    """Return the wall time of all trials, s."""
    return math.fsum(trial.wall_seconds for choice in choices for trial in choice.trials)
