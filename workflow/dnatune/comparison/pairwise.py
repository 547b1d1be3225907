"""tests.tsv: what the runs say of each pair of optimizers, in numbers and in words."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dnatune import inference
from dnatune.comparison import comparability
from dnatune.comparison.results import FinishedRun, Group
from dnatune.comparison.summary import table_text
from dnatune.inference.reasons import SAME_PREDICTION
from dnatune.settings.scoring import Comparison
from dnatune.settings.tasks import Task

#: The columns of tests.tsv, in their order.
TEST_COLUMNS = (
    "model",
    "task",
    "first",
    "second",
    "verdict",
    "within_margin",
    "metric",
    "seeds",
    "difference",
    "low",
    "high",
    "p_value",
    "adjusted_p",
    "auroc_difference",
    "auroc_low",
    "auroc_high",
    "mcnemar_p",
    "improvement",
    "improvement_low",
    "improvement_high",
    "effect_size",
    "effect_size_low",
    "effect_size_high",
    "seeds_needed",
    "power",
    "level",
    "equivalence_margin",
    "flags",
    "withheld",
    "sentence",
    "seeds_sentence",
)


def pair_rows(groups: Sequence[Group], tasks: Mapping[str, Task], testing: Comparison) -> list[dict[str, Any]]:
    """Return the rows of tests.tsv: one a pair of optimizers of the same model and task; None is an empty cell.

    The p-values of all pairs of a task, whatever their models, are adjusted for their number together.

    Raises:
        ConfigurationError: the level or the margin is out of range.
    """
    rows = []
    for task in tasks.values():
        members = [group for group in groups if group.task == task.name]
        pairs = [_Pair(a, b, task, testing) for a, b in itertools.combinations(members, 2) if a.model == b.model]
        differences = [pair.difference() for pair in pairs]
        adjusted = inference.holm([difference.p_value for difference in differences])
        made = sum(p is not None for p in adjusted)
        rows += [pair.row(*tested, made) for pair, *tested in zip(pairs, differences, adjusted, strict=True)]
    return rows


class _Pair:
    """Two optimizers of one model and task, over the seeds that both completed.

    Attributes:
        names: of the two optimizers.
        seeds: those that both completed, in the order of the first.
        sides: their runs [two, seeds].
    """

    def __init__(self, first: Group, second: Group, task: Task, testing: Comparison):
        self.first, self.second, self.task, self.testing = first, second, task, testing
        self.names = (first.optimizer, second.optimizer)
        self.metric = task.metric
        completed = [{run.seed: run for run in group.completed} for group in (first, second)]
        self.seeds = [seed for seed in completed[0] if seed in completed[1]]
        self.sides = [[side[seed] for seed in self.seeds] for side in completed]

    def difference(self) -> inference.PairedDifference:
        """Return the metric of the first minus that of the second, or the reasons why it cannot be tested."""
        level = self.testing.level
        if refusal := self._refusal():
            refused = inference.Interval(None, None, None, level, "; ".join([refusal, *self._lost()]))
            return inference.PairedDifference(self.metric, len(self.seeds), 0, (), refused)
        labels = [np.stack([self._labels(run) for run in side]) for side in self.sides]
        found = inference.paired_difference(*labels, self._truth(), self.metric, level)
        if found.interval.reason is None:
            return found
        own = [found.interval.reason] if self._one_class() else self._constant() or [found.interval.reason]
        reason = "; ".join([*own, *self._lost()])
        return dataclasses.replace(found, interval=dataclasses.replace(found.interval, reason=reason))

    def row(self, difference: inference.PairedDifference, adjusted_p: float | None, comparisons: int) -> dict[str, Any]:
        """Return the pair's row of tests.tsv; `comparisons` are all that were tested with it."""
        level, margin = self.testing.level, self.testing.equivalence_margin
        verdict = inference.verdict(difference, margin, adjusted_p, self.names)
        needed = inference.seeds_needed(difference, margin, comparisons=max(1, comparisons))
        improvement, effect = self._over_seeds()
        tested, auroc = difference.interval, self._auroc_difference()
        reasons = {
            "verdict": tested.reason,
            "AUROC": auroc.reason,
            "improvement": improvement.reason,
            "effect size": effect.reason,
        }
        flags = self._flags()
        return {
            "model": self.first.model,
            "task": self.task.name,
            "first": self.names[0],
            "second": self.names[1],
            "verdict": verdict.word,
            "within_margin": "yes" if verdict.within_margin else "no",
            "metric": self.metric,
            "seeds": " ".join(map(str, self.seeds)),
            "difference": tested.estimate,
            "low": tested.low,
            "high": tested.high,
            "p_value": difference.p_value,
            "adjusted_p": adjusted_p,
            "auroc_difference": auroc.estimate,
            "auroc_low": auroc.low,
            "auroc_high": auroc.high,
            "mcnemar_p": " ".join(f"{p:.6g}" for p in self._mcnemar()),
            "improvement": improvement.estimate,
            "improvement_low": improvement.low,
            "improvement_high": improvement.high,
            "effect_size": effect.estimate,
            "effect_size_low": effect.low,
            "effect_size_high": effect.high,
            "seeds_needed": needed.seeds,
            "power": needed.power_now,
            "level": level,
            "equivalence_margin": margin,
            "flags": " ".join(flags),
            "withheld": "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason),
            "sentence": " ".join([*self._terms(flags), verdict.sentence, *self._left_out(tested.reason)]),
            "seeds_sentence": needed.sentence,
        }

    def _over_seeds(self) -> tuple[inference.Interval, inference.Interval]:
        """Return probability of improvement and effect size; none where no score tells classes apart."""
        level = self.testing.level
        if self._one_class():
            refused = inference.Interval(None, None, None, level, "the test items are all of one class")
            return refused, refused
        values = [[run.metrics.score(self.metric) for run in side] for side in self.sides]
        return inference.probability_of_improvement(*values, level), inference.effect_size(*values, level)

    def _auroc_difference(self) -> inference.Interval:
        """Return the AUROC of the first minus that of the second, without a verdict; tasks of two classes have it."""
        level, columns = self.testing.level, ["logp_0", "logp_1"]
        scored = all(set(columns) <= set(run.predictions.columns) for side in self.sides for run in side)
        reason = self._refusal()
        if reason is None and len(self.task.labels) != 2:
            reason = f"its difference is defined for two classes, and the task has {len(self.task.labels)}"
        elif reason is None and not scored:
            reason = "the answers were decoded freely, so that there are no probabilities"
        if reason:
            return inference.Interval(None, None, None, level, reason)
        scores = [np.stack([run.predictions[columns].to_numpy() for run in side]) for side in self.sides]
        return inference.paired_difference(*scores, self._truth(), "auroc", level).interval

    def _lost(self) -> list[str]:
        """Return, in words, the seeds that one of the two did not complete."""
        words = []
        for group, other in ((self.first, self.second), (self.second, self.first)):
            own = {run.seed for run in group.runs}
            diverged = [run.seed for run in group.runs if run.diverged]
            missing = [run.seed for run in other.runs if run.seed not in own]
            words += [f"{group.optimizer} diverged with {_seeds(diverged)}"] if diverged else []
            words += [f"{group.optimizer} has no run with {_seeds(missing)}"] if missing else []
        return words

    def _refusal(self) -> str | None:
        if not self.seeds:
            return "no seed was completed by both"
        truth = self._truth()
        if any(not np.array_equal(run.predictions["label"], truth) for side in self.sides for run in side):
            return "the runs were scored on different test items"
        return None

    def _one_class(self) -> bool:
        return bool(self.seeds) and len(np.unique(self._truth())) == 1

    def _constant(self) -> list[str]:
        return [
            f"{name} with {_seeds(seeds)} {SAME_PREDICTION}"
            for name, side in zip(self.names, self.sides, strict=True)
            if (seeds := [run.seed for run in side if len(np.unique(self._labels(run))) == 1])
        ]

    def _mcnemar(self) -> list[float]:
        if self._refusal():
            return []
        truth = self._truth()
        tests = (inference.mcnemar_exact(*map(self._labels, runs), truth) for runs in zip(*self.sides, strict=True))
        return [test.p_value for test in tests if test.p_value is not None]

    def _truth(self) -> np.ndarray:
        return self.sides[0][0].predictions["label"].to_numpy(int)

    def _labels(self, run: FinishedRun) -> np.ndarray:
        # An answer that names no class is a class of its own that no item has.
        return run.predictions["predicted"].fillna(len(self.task.labels)).to_numpy(int)

    def _flags(self) -> list[str]:
        runs = [run.record for side in self.sides for run in side]
        return comparability.unequal(runs, runs)

    def _terms(self, flags: Sequence[str]) -> list[str]:
        """Return, in words, what was not equal."""

        def counts(key: str) -> str:
            each = (
                ", ".join(str(n) for n in sorted({getattr(run.record, key) for run in side})) for side in self.sides
            )
            return " and ".join(f"{number} of {name}" for name, number in zip(self.names, each, strict=True))

        words = {
            "unequal_budget": lambda: f"different budgets ({counts('gradient_evaluations')} gradient evaluations)",
            "unequal_batch": lambda: f"different batches and so another order of data ({counts('global_batch_size')})",
            "unequal_training": lambda: "different schedules, clipping, precision, limits of the loss or dev examples",
            "unequal_inputs": lambda: "different base models or training data",
            "mixed_code": lambda: "different versions of dnatune's code",
        }
        return [f"Not on equal terms: {'; '.join(words[flag]() for flag in flags)}."] if flags else []

    def _left_out(self, reason: str | None) -> list[str]:
        lost = self._lost()
        if reason or not lost:
            return []
        return [f"This holds for runs that complete, {_seeds(self.seeds)}: {'; '.join(lost)}."]


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def tests_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as the text of tests.tsv."""
    return table_text(TEST_COLUMNS, rows)
