"""Two methods that are compared: an optimizer with its runs, or a control with its one set of predictions."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dnatune import inference
from dnatune.comparison.results import Baseline, Group
from dnatune.settings.scoring import BASELINE_NAMES
from dnatune.settings.tasks import Task
from dnatune.training.record import Run


@dataclasses.dataclass(frozen=True, eq=False)
class Contender:
    """One of two methods, on one task.

    Attributes:
        name: of the optimizer or the control.
        task: on which it was scored.
        tables: predictions.tsv by completed seed; of a control, the only one, whatever the seed.
        fixed: whether it is a control. Training has no part in its predictions, so that every seed meets the same.
        records: run.json by completed seed.
        planned, diverged: seeds of all runs, and of those that diverged.
        known: what `measured` has found, by metric.
    """

    name: str
    task: Task
    tables: Mapping[int, pd.DataFrame]
    fixed: bool = False
    records: Mapping[int, Run] = dataclasses.field(default_factory=dict)
    planned: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    known: dict[str, inference.Measured | None] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_group(cls, group: Group, task: Task) -> "Contender":
        """Return an optimizer on a task."""
        return cls(
            group.optimizer,
            task,
            {run.seed: run.predictions for run in group.completed},
            records={run.seed: run.record for run in group.completed},
            planned=tuple(run.seed for run in group.runs),
            diverged=tuple(run.seed for run in group.runs if run.diverged),
        )

    @classmethod
    def of_baseline(cls, baseline: Baseline, task: Task) -> "Contender":
        """Return a baseline as a control."""
        return cls(baseline.name, task, {0: baseline.predictions}, fixed=True)

    @property
    def shown(self) -> str:
        """What readers call it."""
        return BASELINE_NAMES.get(self.name, self.name) if self.fixed else self.name

    @functools.cached_property
    def truth(self) -> np.ndarray | None:
        """The classes of the test items [items]; None if the runs were scored on different ones, or there is none."""
        truths = [table["label"].to_numpy(int) for table in self.tables.values()]
        same = truths and all(np.array_equal(one, truths[0]) for one in truths)
        return truths[0] if same else None

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """Predicted classes [runs, items]; an answer that names no class is a class of its own that no item has."""
        none = len(self.task.labels)
        return np.stack([table["predicted"].fillna(none).to_numpy(int) for table in self.tables.values()])

    @functools.cached_property
    def log_probabilities(self) -> np.ndarray | None:
        """Of the label words [runs, items, classes]; None where answers were decoded freely."""
        columns = [f"logp_{index}" for index in range(len(self.task.labels))]
        if not all(set(columns) <= set(table.columns) for table in self.tables.values()):
            return None
        return np.stack([table[columns].to_numpy(float) for table in self.tables.values()])

    def measured(self, metric: str) -> inference.Measured | None:
        """Return a metric of the completed runs; None if it needs probabilities and there are none."""
        if metric not in self.known:
            predictions = self.labels if metric in inference.OF_LABELS else self.log_probabilities
            labels = self.task.labels
            self.known[metric] = (
                None if predictions is None else inference.measure(predictions, self.truth, metric, labels)
            )
        return self.known[metric]

    def places(self, seeds: Sequence[int]) -> list[int]:
        """Return the place of each seed's run among the completed."""
        order = list(self.tables)
        return [0 if self.fixed else order.index(seed) for seed in seeds]


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two methods, on one task or on several.

    Attributes:
        first, second: of each task, in the same order.
        clusters: of each test item, those of the tasks one after another [items].
        left_out: in words, the tasks of the same metric that are no part of it.
    """

    first: tuple[Contender, ...]
    second: tuple[Contender, ...]
    clusters: np.ndarray | None = None
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the two."""
        return self.first[0].name, self.second[0].name

    @property
    def shown(self) -> tuple[str, str]:
        """Return what readers call the two."""
        return self.first[0].shown, self.second[0].shown

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the names of the tasks."""
        return tuple(one.task.name for one in self.first)

    @functools.cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that both completed on every task, in the order of the first."""
        others = [one for one in (*self.first, *self.second) if not one.fixed]
        return tuple(seed for seed in self.first[0].tables if all(seed in one.tables for one in others))

    @functools.cached_property
    def refusal(self) -> str | None:
        """Why nothing can be compared; None if something can."""
        if not self.seeds:
            return "no seed was completed by both"
        for one, other in zip(self.first, self.second, strict=True):
            if one.truth is None or other.truth is None or not np.array_equal(one.truth, other.truth):
                return "the runs were scored on different test items"
        return None

    @functools.cached_property
    def lost(self) -> list[str]:
        """In words, the seeds that one of the two did not complete."""
        words: list[str] = []
        for one, other in zip((*self.first, *self.second), (*self.second, *self.first), strict=True):
            missing = [] if one.fixed else [seed for seed in other.planned if seed not in one.planned]
            place = f" on {one.task.name}" if len(self.first) > 1 else ""
            words += [f"{one.name} diverged{place} with {seeds_in_words(one.diverged)}"] if one.diverged else []
            words += [f"{one.name} has no run{place} with {seeds_in_words(missing)}"] if missing else []
        return words

    @functools.cached_property
    def identical(self) -> bool:
        """Whether every prediction of every common seed is the same: all log-probabilities, or all answers."""
        if self.refusal:
            return False
        for one, other in zip(self.first, self.second, strict=True):
            arrays = [one.log_probabilities, other.log_probabilities]
            if arrays[0] is None or arrays[1] is None:
                arrays = [one.labels, other.labels]
            mine, theirs = (array[side.places(self.seeds)] for array, side in zip(arrays, (one, other), strict=True))
            if not np.array_equal(mine, theirs):
                return False
        return True

    def difference(self, metric: str) -> inference.Difference:
        """Return the difference of each common seed by a metric, averaged over the tasks."""
        reason = self.refusal
        if reason is None and any(one.measured(metric) is None for one in (*self.first, *self.second)):
            reason = "the answers were decoded freely, so that there are no probabilities"
        if reason:
            nothing = np.empty(0)
            return inference.Difference(metric, nothing, np.empty((0, 0)), nothing, reason=reason)
        sides = zip(self.first, self.second, strict=True)
        return inference.average(
            [
                inference.subtract(*(side.measured(metric).of(side.places(self.seeds)) for side in both))
                for both in sides
            ],
            self.tasks,
        )

    def values(self, metric: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the metric of each common seed, averaged over the tasks, of both; empty if there is none."""
        found = []
        for side in (self.first, self.second):
            each = [] if self.refusal else [one.measured(metric) for one in side]
            if not each or any(one is None or one.reason for one in each):
                return (), ()
            values = [one.of(side[place].places(self.seeds)).values for place, one in enumerate(each)]
            found.append(tuple(np.mean(values, axis=0).tolist()))
        return found[0], found[1]

    def mcnemar(self) -> tuple[float, ...]:
        """Return the p-value of the two models of each common seed; none on several tasks."""
        if self.refusal or len(self.first) > 1:
            return ()
        one, other = self.first[0], self.second[0]
        runs = zip(one.places(self.seeds), other.places(self.seeds), strict=True)
        tests = (inference.mcnemar_exact(one.labels[i], other.labels[j], one.truth) for i, j in runs)
        return tuple(test.p_value for test in tests if test.p_value is not None)

    def runs(self) -> tuple[list[Run], list[Run]]:
        """Return run.json of the common seeds, of all tasks, of both."""
        mine, theirs = (
            [one.records[seed] for one in side if not one.fixed for seed in self.seeds]
            for side in (self.first, self.second)
        )
        return mine, theirs


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Return `seed 0` or `seeds 0, 1`."""
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
