"""Verdicts (better, worse, equivalent or inconclusive), the power of a comparison, and the number of seeds needed."""

import dataclasses
import math
from typing import Literal

import numpy as np
from scipy import special, stats

from dnatune.errors import ConfigurationError
from dnatune.inference.intervals import PairedDifference, half_width
from dnatune.inference.reasons import FEWEST_SEEDS

_MOST_SEEDS = 10_000
_SHARES = (np.arange(2_000) + 0.5) / 2_000


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        word: the verdict on the first method.
        within_margin: whether the (1 - 2α) interval lies within the margin; this is possible for `better` and `worse`.
        sentence: the verdict in plain words.
    """

    word: Literal["better", "worse", "equivalent", "inconclusive"]
    within_margin: bool
    sentence: str


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


def verdict(
    difference: PairedDifference,
    margin: float | None,
    adjusted_p: float | None,
    names: tuple[str, str] = ("A", "B"),
) -> Verdict:
    """Return better, worse, equivalent or inconclusive, and a sentence.

    With α = 1 - level of the difference, the verdict is better or worse if the adjusted test rejects "no difference" at
    level α; otherwise equivalent if the whole (1 - 2α) interval lies within ±margin (two one-sided tests, Schuirmann
    1987, J Pharmacokinet Biopharm 15:657); otherwise inconclusive. If a method is better or worse and the difference is
    within the margin, the sentence says that it is too small to matter.

    Args:
        difference: of the first method minus the second.
        margin: largest difference that does not matter, in units of the metric; None if none was set beforehand.
        adjusted_p: p-value of the difference, adjusted by `holm` for all comparisons made; None if there is none.
        names: names of the two methods, for the sentence.

    Raises:
        ConfigurationError: the margin is not above 0.
    """
    if margin is not None and not 0 < margin < math.inf:
        raise ConfigurationError(
            f"an equivalence margin of {margin}", where="margin", fix="give a difference above 0, or no margin"
        )
    first, second = names
    interval = difference.interval
    if interval.estimate is None or interval.reason or adjusted_p is None or math.isnan(adjusted_p):
        reason = interval.reason or "the comparison was not tested"
        return Verdict("inconclusive", False, f"Nothing can be said of {first} against {second}: {reason}.")
    alpha = 1 - interval.level
    narrow = difference.interval_at(1 - 2 * alpha)
    within = margin is not None and narrow.within(margin)
    size = f"{100 * interval.level:.3g} % interval {_signed(interval.low)} to {_signed(interval.high)}"
    test = f"adjusted p {'< 0.001' if adjusted_p < 0.001 else f'= {adjusted_p:.3f}'}"
    amount = f"{difference.metric} {_signed(interval.estimate)}, {size}, {test}"
    if adjusted_p <= alpha and interval.estimate != 0:
        word: Literal["better", "worse"] = "better" if interval.estimate > 0 else "worse"
        if within:
            small = f", by less than {margin:g}: practically equivalent"
            return Verdict(word, True, f"{first} is {word} than {second}{small} ({amount}).")
        return Verdict(word, False, f"{first} is {word} than {second} ({amount}).")
    if within:
        return Verdict(
            "equivalent",
            True,
            f"{first} and {second} are equivalent: they differ by less than {margin:g} "
            f"({100 * narrow.level:.3g} % interval {_signed(narrow.low)} to {_signed(narrow.high)}).",
        )
    shown = "neither a difference nor its absence is shown"
    if margin is not None:
        shown = f"neither a difference nor equivalence within {margin:g} is shown"
    lost = difference.p_value is not None and difference.p_value <= alpha
    why = "; a single comparison would show a difference, but not after adjusting for their number" if lost else ""
    return Verdict("inconclusive", False, f"{first} and {second}: {shown} ({amount}){why}.")


def power_of_difference(
    true_difference: float, seed_variance: float, item_variance: float, seeds: int, items: int, level: float = 0.95
) -> float:
    """Return the probability that `paired_difference` finds a true difference, in either direction.

    The data are assumed normal. The variance between seeds is estimated from `seeds` values; the variance of the items
    is assumed to be known.

    Args:
        true_difference: in units of the metric.
        seed_variance: variance of the difference between seeds on the same items.
        item_variance: variance that the items cause in all seeds together.
        seeds: number of seeds, two or more.
        items: number of test items.
        level: confidence level of the interval that must exclude 0.
    """
    # The average over the distribution of the estimated variance, at 2,000 equally likely values.
    estimated = seed_variance * stats.chi2.ppf(_SHARES, seeds - 1) / (seeds - 1)
    limits = half_width(estimated, item_variance, seeds, items, 1 - level)
    deviation = math.sqrt(seed_variance / seeds + item_variance)
    if deviation == 0:
        return float(true_difference != 0)
    found = special.ndtr((true_difference - limits) / deviation) + special.ndtr((-true_difference - limits) / deviation)
    return float(found.mean())


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
    if spread is None or shared is None:
        reason = difference.interval.reason
        return SeedsNeeded(None, None, f"The number of seeds needed cannot be computed: {reason}.")

    def power_with(seeds: int) -> float:
        return power_of_difference(true_difference, spread, shared, seeds, difference.items, level)

    among = f" among {comparisons} comparisons" if comparisons > 1 else ""
    wanted = f"a difference of {abs(true_difference):g} in {difference.metric}{among} with {100 * power:.3g} % power"
    now = power_with(difference.seeds)
    if power_of_difference(true_difference, 0, shared, _MOST_SEEDS, difference.items, level) < power:
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


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"
