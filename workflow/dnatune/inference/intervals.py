"""Intervals, paired differences, and the width of their intervals."""

import dataclasses

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate between two limits, or the reason why there are none.

    Attributes:
        estimate: point estimate; None if there is none.
        low: lower limit; None if there is a reason.
        high: upper limit; None if there is a reason.
        level: confidence level, 0.95 for 95 %.
        reason: why there are no limits; None if there are limits.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    reason: str | None = None

    def within(self, margin: float) -> bool:
        """Return whether the whole interval lies strictly between -margin and margin."""
        return self.low is not None and self.high is not None and -margin < self.low and self.high < margin


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """A metric of method A minus that of method B, over common seeds and test items.

    Attributes:
        metric: one of `DIFFERENCE_METRICS`.
        seeds: number of seeds.
        items: number of test items, of all tasks.
        clusters: number of independent groups of items; their number if each is its own.
        limiting: the same number of the items of the class with fewest, see `ClassItems`, over all tasks. This number
            less one is the degrees of freedom of what the items cause.
        differences: the difference of each seed [seeds]; empty if the metric has no value.
        interval: interval of the expected difference for new seeds and new test items.
        p_value: two-sided p-value of the hypothesis that this difference is 0; None without a test.
        seed_variance: variance of the difference between seeds on the same items; None without an interval.
        item_variance: variance that the choice of test items causes in the differences of all seeds together, so that
            more seeds do not reduce it; None without an interval.
        all_constant: whether a metric of predicted classes was asked of runs that all give one answer to all items.
        untested: why there is no test although there is an interval, which is then approximate; None otherwise.
    """

    metric: str
    seeds: int
    items: int
    clusters: int
    limiting: int
    differences: tuple[float, ...]
    interval: Interval
    p_value: float | None = None
    seed_variance: float | None = None
    item_variance: float | None = None
    all_constant: bool = False
    untested: str | None = None

    def interval_at(self, level: float) -> Interval:
        """Return the interval at another confidence level."""
        if self.interval.estimate is None or self.seed_variance is None or self.item_variance is None:
            return dataclasses.replace(self.interval, level=level)
        half = float(half_width(self.seed_variance, self.item_variance, self.seeds, self.limiting, 1 - level))
        return Interval(self.interval.estimate, self.interval.estimate - half, self.interval.estimate + half, level)


def half_width(
    seed_variance: float | np.ndarray, item_variance: float | np.ndarray, seeds: int, limiting: int, alpha: float
) -> np.ndarray:
    """Return half the width of the 1 - alpha interval of `infer`, which gives the formula."""
    of_seeds, of_items = (special.stdtrit(number - 1, alpha / 2) for number in (seeds, limiting))
    return np.sqrt(of_seeds**2 * np.asarray(seed_variance) / seeds + of_items**2 * np.asarray(item_variance))


def refused(values: np.ndarray, level: float, reason: str) -> Interval:
    """Return an interval without limits, with a reason; the estimate is the mean of the values if it is defined."""
    known = values.ndim == 1 and len(values) > 0 and bool(np.isfinite(values).all())
    return Interval(float(values.mean()) if known else None, None, None, level, reason)
