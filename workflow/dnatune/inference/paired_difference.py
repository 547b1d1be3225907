"""The difference between two methods for new seeds and new test items."""

import dataclasses
import math

import numpy as np
from scipy import optimize

from dnatune.inference.intervals import Interval, PairedDifference, half_width, refused
from dnatune.inference.measured import OF_LABELS, Difference, fewest, item_covariance, measure, subtract
from dnatune.inference.reasons import ALL_CONSTANT, check_level, refuse_number, refuse_values, same_value

_LEAST_LOG_P = -300.0


def paired_difference(
    predictions_a: np.ndarray,
    predictions_b: np.ndarray,
    truth: np.ndarray,
    metric: str = "mcc",
    level: float = 0.95,
    clusters: np.ndarray | None = None,
) -> PairedDifference:
    """Return how much higher the metric of method A is than that of method B, for new seeds and new test items.

    Args:
        predictions_a: as `measure` takes them.
        predictions_b: the same of the other method, with the same seeds and items in the same order.
        truth: class labels [items].
        metric: one of `DIFFERENCE_METRICS`.
        level: confidence level.
        clusters: the cluster of each item [items]; None if the items are independent.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1, or the metric is unknown.
    """
    first, second = (measure(predictions, truth, metric) for predictions in (predictions_a, predictions_b))
    return infer(subtract(first, second), clusters, level)


def infer(difference: Difference, clusters: np.ndarray | None = None, level: float = 0.95) -> PairedDifference:
    """Return the difference that is expected of new seeds and new test items, with its interval.

    With S seeds, G independent items of the class with fewest, s² the variance of the difference between seeds, and C
    the covariance that the items cause between the differences of two seeds, the half width is
    √(t²(S-1) s²/S + t²(G-1) C), where t(k) is the quantile of Student's t with k degrees of freedom. The variances are
    those of Obuchowski & Rockette 1995, Commun Stat Simul Comput 24:285. The quantiles follow Banerjee 1960, Sankhyā
    22:357, whose bound never covers less than its level for normal data. With few such items the influence is not
    normal, so that the interval is approximate and there is no test.

    Args:
        difference: of each seed, on one task or averaged over several.
        clusters: the cluster of each item [items]; None if each is its own.
        level: confidence level.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    check_level(level)
    values, items = difference.values, difference.influence.shape[1]
    clusters = np.arange(items) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    number = int(clusters.max(initial=-1)) + 1
    rarest = fewest(difference.classes, clusters)
    limiting, untested = (rarest.independent(clusters), rarest.too_few(clusters)) if rarest else (number, None)
    reason = difference.reason or _refuse(difference, clusters, number) or (untested if limiting < 2 else None)
    found = PairedDifference(
        difference.metric,
        len(values),
        items,
        number,
        limiting,
        tuple(values.tolist()),
        refused(values, level, reason or ""),
        all_constant=difference.all_constant and difference.metric in OF_LABELS,
    )
    if reason:
        return found
    seed_variance, item_variance = (
        float(part) for part in variance_components(values, item_covariance(difference, clusters))
    )
    if seed_variance == item_variance == 0:
        return dataclasses.replace(found, interval=refused(values, level, same_value(len(values))))
    mean = float(values.mean())
    found = dataclasses.replace(
        found,
        interval=Interval(mean, None, None, level),
        p_value=None if untested else _p_value(mean, seed_variance, item_variance, len(values), limiting),
        untested=untested,
        seed_variance=seed_variance,
        item_variance=item_variance,
    )
    return dataclasses.replace(found, interval=found.interval_at(level))


def _refuse(difference: Difference, clusters: np.ndarray, number: int) -> str | None:
    if difference.all_constant and difference.metric in OF_LABELS:
        return ALL_CONSTANT
    if number < len(clusters):
        strata = np.unique(difference.strata)
        if min(len(np.unique(clusters[difference.strata == stratum])) for stratum in strata) < 2:
            return f"the {difference.influence.shape[1]} test items of a class are copies or near-copies of one another"
    # A method that gives one answer to all items with every seed has one value; other methods have not.
    return refuse_number(difference.values) if difference.some_constant else refuse_values(difference.values)


def variance_components(differences: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance between seeds, and the variance that the items cause in all seeds together.

    The variance of the mean over S seeds is the first ÷ S plus the second. The first already contains the noise that
    the items cause in each seed separately, so only the covariance between different seeds is added; adding the whole
    variance of the items would count that noise twice.

    Args:
        differences: [..., seeds].
        covariance: [..., seeds, seeds], as `item_covariance` returns it.
    """
    seeds = differences.shape[-1]
    own = np.trace(covariance, axis1=-2, axis2=-1)
    shared = (covariance.sum(axis=(-2, -1)) - own) / (seeds * (seeds - 1))
    return differences.var(axis=-1, ddof=1), np.maximum(shared, 0)


def _p_value(mean: float, seed_variance: float, item_variance: float, seeds: int, limiting: int) -> float:
    """Return the α at which a limit of the 1 - α interval is 0."""

    def excess(log_alpha: float) -> float:
        return float(half_width(seed_variance, item_variance, seeds, limiting, math.exp(log_alpha))) - abs(mean)

    if mean == 0:
        return 1.0
    # For smaller α the squares of the quantiles overflow, and such values do not matter.
    if excess(_LEAST_LOG_P) < 0:
        return math.exp(_LEAST_LOG_P)
    return math.exp(optimize.brentq(excess, _LEAST_LOG_P, 0.0, xtol=1e-12))
