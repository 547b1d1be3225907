"""Who is ahead on a task, and what the tests say of the leader against each of the others and against its control."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from dnatune.comparison.results import Group
from dnatune.comparison.verdict_rows import VerdictRow
from dnatune.inference import FEWEST_SEEDS
from dnatune.inference.verdicts import Word


@dataclasses.dataclass(frozen=True)
class Against:
    """A row of tests.tsv, from the side of one of the two.

    Attributes:
        other: name of the other.
        verdict: on the one.
        difference, low, high: of the one minus the other; None where there is none.
        each: the difference of each common seed.
        other_mean: what the other reached.
        detectable: smallest difference that these seeds and items could have shown.
        mcnemar: p of each pair of trained models.
        approximate: whether there is an interval and no test.
    """

    other: str
    verdict: Word
    difference: float | None
    low: float | None
    high: float | None
    each: tuple[float, ...]
    other_mean: float | None
    detectable: float | None
    mcnemar: tuple[float, ...]
    approximate: bool = False

    @property
    def tested(self) -> bool:
        """Return whether there was a test, or identity needs none."""
        return self.verdict == "identical" or (self.low is not None and not self.approximate)

    @property
    def few(self) -> bool:
        """Return whether common seeds are there, but too few for an interval."""
        return not self.tested and not self.approximate and 0 < len(self.each) < FEWEST_SEEDS

    @property
    def gap(self) -> float:
        """Return the difference, or that of the means where none was estimated; 0 where nothing is known."""
        if self.difference is not None:
            return self.difference
        return float(np.mean(self.each)) if self.each else 0.0


@dataclasses.dataclass(frozen=True)
class Standing:
    """The optimizers of one model on one task, or on several.

    Attributes:
        leader: name of the optimizer with the highest mean.
        mean: what it reached.
        rivals: the leader against each other optimizer that has a score, the nearest first.
        control: the leader against the control; None where there is none.
    """

    leader: str
    mean: float
    rivals: tuple[Against, ...]
    control: Against | None


def against(row: VerdictRow, name: str) -> Against:
    """Return a row from the side of one of the two."""
    each = tuple(a - b for a, b in zip(row.first_values, row.second_values, strict=True))
    limits, rest = (row.difference, row.low, row.high), (row.detectable, row.mcnemar_p, row.approximate)
    if row.first == name:
        return Against(row.second, row.verdict, *limits, each, row.second_mean, *rest)
    turned = [None if value is None else -value for value in (row.difference, row.high, row.low)]
    opposite: dict[Word, Word] = {"better": "worse", "worse": "better"}
    word = opposite.get(row.verdict, row.verdict)
    each = tuple(-value for value in each)
    return Against(row.first, word, *turned, each, row.first_mean, *rest)


def of_groups(groups: Iterable[Group], metric: str, rows: Sequence[VerdictRow]) -> Standing | None:
    """Return the standing of the optimizers of one model and task; None if none has a score.

    Args:
        groups: the optimizers.
        metric: the task's.
        rows: of tests.tsv, of this model, task and metric.
    """
    means = {group.optimizer: float(np.mean(found)) for group in groups if (found := group.values(metric))}
    return _standing(means, rows)


def over_tasks(rows: Sequence[VerdictRow]) -> Standing | None:
    """Return the standing of the optimizers of one model over several tasks, from the rows on all of them."""
    means: dict[str, float] = {}
    for row in rows:
        sides = [(row.first, row.first_mean)] + (
            [(row.second, row.second_mean)] if row.comparison == "optimizers" else []
        )
        means |= {name: mean for name, mean in sides if mean is not None}
    return _standing(means, rows)


def _standing(means: dict[str, float], rows: Sequence[VerdictRow]) -> Standing | None:
    if not means:
        return None
    leader = max(means, key=lambda name: means[name])
    own = [row for row in rows if leader in (row.first, row.second)]
    rivals = [against(row, leader) for row in own if row.comparison == "optimizers"]
    control = next((against(row, leader) for row in own if row.comparison == "control"), None)
    nearest = sorted((one for one in rivals if one.other in means), key=lambda one: means[leader] - means[one.other])
    return Standing(leader, means[leader], tuple(nearest), control)
