"""The power of a comparison: what it could have found, and the number of seeds that would find more."""

import dataclasses
import math

import numpy as np
from scipy import optimize, special, stats

from dnatune.errors import ConfigurationError
from dnatune.inference.intervals import PairedDifference, half_width
from dnatune.inference.measured import METRIC_NAMES
from dnatune.inference.reasons import FEWEST_SEEDS

_MOST_SEEDS = 10_000
_SHARES = (np.arange(2_000) + 0.5) / 2_000


@dataclasses.dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds a comparison needs.

    Attributes:
        seeds: the smallest sufficient number; None if no number suffices or it cannot be computed.
        power_now: power with the present number of seeds; None if it cannot be computed.
        sentence: the result in plain words.
    """

    seeds: int | None
    power_now: float | None
    sentence: str


def power_of_difference(
    true_difference: float, seed_variance: float, item_variance: float, seeds: int, limiting: int, level: float = 0.95
) -> float:
    """Return the probability that `paired_difference` finds a true difference, in either direction.

    The data are assumed normal. The variance between seeds is estimated from `seeds` values; the variance of the items
    is assumed to be known.

    Args:
        true_difference: in units of the metric.
        seed_variance: variance of the difference between seeds on the same items.
        item_variance: variance that the items cause in all seeds together.
        seeds: number of seeds, two or more.
        limiting: number of independent groups of the test items of the rarest class.
        level: confidence level of the interval that must exclude 0.
    """
    # The average over the distribution of the estimated variance, at 2,000 equally likely values.
    estimated = seed_variance * stats.chi2.ppf(_SHARES, seeds - 1) / (seeds - 1)
    limits = half_width(estimated, item_variance, seeds, limiting, 1 - level)
    deviation = math.sqrt(seed_variance / seeds + item_variance)
    if deviation == 0:
        return float(true_difference != 0)
    found = special.ndtr((true_difference - limits) / deviation) + special.ndtr((-true_difference - limits) / deviation)
    return float(found.mean())


def detectable_difference(difference: PairedDifference, power: float = 0.8, comparisons: int = 1) -> float | None:
    """Return the smallest true difference that a comparison like this one finds with the wanted power.

    The measured variances are used, as in `seeds_needed`.

    Args:
        difference: a comparison already made; without a test the result is None.
        power: wanted probability of finding it.
        comparisons: number of comparisons that are adjusted together, as in `seeds_needed`.
    """
    spread, shared = difference.seed_variance, difference.item_variance
    if spread is None or shared is None or difference.untested:
        return None
    level = 1 - (1 - difference.interval.level) / comparisons

    def lacking(size: float) -> float:
        return power_of_difference(size, spread, shared, difference.seeds, difference.limiting, level) - power

    half = float(half_width(spread, shared, difference.seeds, difference.limiting, 1 - level))
    # A difference of three half widths is found nearly always.
    return float(optimize.brentq(lacking, 0.0, 10 * half, rtol=1e-6))


def seeds_needed(
    difference: PairedDifference, true_difference: float, power: float = 0.8, comparisons: int = 1
) -> SeedsNeeded:
    """Return the smallest number of seeds that finds a true difference with the wanted power.

    The measured variances are used; from few seeds they are rough estimates, and so is the result.

    Args:
        difference: a comparison already made.
        true_difference: the difference worth finding, in units of the metric.
        power: wanted probability of finding it.
        comparisons: number of comparisons that are adjusted together. The result is for a p-value of α ÷ comparisons,
            which is the strictest level in Holm's method.

    Raises:
        ConfigurationError: the difference is 0 or not finite, or the power is not between 0 and 1.
    """
    if not 0 < power < 1:
        raise ConfigurationError(
            f"a power of {power}", where="power", fix="give a probability between 0 and 1, such as 0.8"
        )
    if true_difference == 0 or not math.isfinite(true_difference):
        raise ConfigurationError(
            f"a true difference of {true_difference}", where="true_difference", fix="give the difference worth finding"
        )
    spread, shared = difference.seed_variance, difference.item_variance
    level = 1 - (1 - difference.interval.level) / comparisons
    reason = difference.interval.reason or difference.untested
    if spread is None or shared is None or reason:
        return SeedsNeeded(None, None, f"The number of seeds needed cannot be computed: {reason}.")

    def power_with(seeds: int) -> float:
        return power_of_difference(true_difference, spread, shared, seeds, difference.limiting, level)

    among = f" among {comparisons} comparisons" if comparisons > 1 else ""
    size = f"{abs(true_difference):g} in {METRIC_NAMES[difference.metric]}"
    wanted = f"a difference of {size}{among} with {100 * power:.3g} % power"
    now = power_with(difference.seeds)
    if power_of_difference(true_difference, 0, shared, _MOST_SEEDS, difference.limiting, level) < power:
        shift = stats.norm.isf((1 - level) / 2) + stats.norm.ppf(power)
        items = math.ceil(difference.items * shared * (shift / true_difference) ** 2)
        return SeedsNeeded(
            None,
            now,
            f"No number of seeds suffices to find {wanted}: the test set of {difference.items:,} items is too small; "
            f"it would need more than {items:,} items.",
        )
    if power_with(_MOST_SEEDS) < power:
        return SeedsNeeded(None, now, f"More than {_MOST_SEEDS:,} seeds are needed to find {wanted}.")
    few, enough = FEWEST_SEEDS - 1, _MOST_SEEDS
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if power_with(middle) >= power else (middle, enough)
    return SeedsNeeded(
        enough, now, f"{enough:,} seeds are needed to find {wanted}; {difference.seeds} have {100 * now:.0f} %."
    )
