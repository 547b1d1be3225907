"""Statistics over seeds for one test set: interval, probability of improvement, and effect size."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special, stats

from dnatune.inference.intervals import Interval, refused
from dnatune.inference.reasons import check_level, refuse_pairs, refuse_values


def seed_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean and t-interval of one metric over seeds [seeds].

    The interval accounts for seeds only; it holds for this test set.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    check_level(level)
    data = np.asarray(values, dtype=float)
    reason = refuse_values(data)
    if reason:
        return refused(data, level, reason)
    half = stats.t.isf((1 - level) / 2, len(data) - 1) * data.std(ddof=1) / math.sqrt(len(data))
    mean = float(data.mean())
    return Interval(mean, mean - float(half), mean + float(half), level)


def probability_of_improvement(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Interval:
    """Return P(A > B) + ½ P(A = B) for a new run of each method with one seed, from metrics over seeds [seeds].

    The limits are exact binomial limits (Clopper & Pearson 1934, Biometrika 26:404): the lower limit of P(A > B) and
    the upper limit of P(A ≥ B). They cover at least their level even if the two runs of a seed are correlated.
    Like `seed_interval`, the result holds for this test set.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    check_level(level)
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    reason = refuse_pairs(first, second)
    if reason:
        return Interval(None, None, None, level, reason)
    seeds, wins, ties = len(first), int((first > second).sum()), int((first == second).sum())
    low = stats.binomtest(wins, seeds).proportion_ci(level).low
    high = stats.binomtest(wins + ties, seeds).proportion_ci(level).high
    return Interval((wins + ties / 2) / seeds, float(low), float(high), level)


def effect_size(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Interval:
    """Return Cohen's d of paired differences (d_z): their mean over their standard deviation, over seeds [seeds].

    The estimate has Hedges' correction for few seeds (Hedges 1981, J Educ Stat 6:107). The limits come from the
    noncentral t distribution; they are exact for normal differences and need no correction. Like `seed_interval`, the
    result holds for this test set.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    check_level(level)
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    reason = refuse_pairs(first, second) or refuse_values(first - second)
    if reason:
        return Interval(None, None, None, level, reason)
    differences = first - second
    seeds, degrees = len(differences), len(differences) - 1
    ratio = float(differences.mean() / differences.std(ddof=1))
    t = ratio * math.sqrt(seeds)
    correction = math.exp(special.gammaln(degrees / 2) - special.gammaln((degrees - 1) / 2)) / math.sqrt(degrees / 2)
    tail = (1 - level) / 2
    low, high = (_noncentrality(t, degrees, share) for share in (1 - tail, tail))
    if low is None or high is None:
        reason = f"the limits of the noncentral t distribution cannot be computed at t = {t:.3g}"
        return Interval(correction * ratio, None, None, level, reason)
    return Interval(correction * ratio, low / math.sqrt(seeds), high / math.sqrt(seeds), level)


def _noncentrality(t: float, degrees: int, share: float) -> float | None:
    """Return the noncentrality at which a noncentral t variable stays below `t` with probability `share`.

    None if scipy's distribution is NaN where the search needs it.
    """
    if t < 0:
        # Use the mirror image, because scipy's distribution is NaN at some places for t < 0.
        mirrored = _noncentrality(-t, degrees, 1 - share)
        return None if mirrored is None else -mirrored

    def excess(noncentrality: float) -> float:
        return float(special.nctdtr(degrees, noncentrality, t)) - share

    # Far from the limit the distribution is NaN, so the bracket grows only as far as necessary.
    low, high, reach = 0.0, t, 1.0
    while excess(low) <= 0:
        low, reach = low - reach, 2 * reach
    reach = 1.0
    while excess(high) >= 0:
        high, reach = high + reach, 2 * reach
    if not (excess(low) > 0 > excess(high)):
        return None
    try:
        return float(optimize.brentq(excess, low, high))
    except ValueError:
        return None
