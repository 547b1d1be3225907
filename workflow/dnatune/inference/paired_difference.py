"""The difference between two methods for new seeds and new test items."""

import dataclasses
import math

import numpy as np
from scipy import optimize

from dnatune.errors import ConfigurationError
from dnatune.inference.influence import auroc, f1_macro, mcc
from dnatune.inference.intervals import Interval, PairedDifference, half_width, refused
from dnatune.inference.probabilities import class_probabilities
from dnatune.inference.reasons import SAME_PREDICTION, check_level, refuse_arrays, refuse_classes, refuse_values

#: Metrics that `paired_difference` knows; higher is better for each of them.
DIFFERENCE_METRICS = ("mcc", "f1_macro", "auroc")
_LEAST_LOG_P = -300.0


def paired_difference(
    predictions_a: np.ndarray, predictions_b: np.ndarray, truth: np.ndarray, metric: str = "mcc", level: float = 0.95
) -> PairedDifference:
    """Return how much better method A is than method B, for new seeds and new test items.

    With S seeds, n items, s² the variance of the difference between seeds, and C the covariance that the items cause
    between the differences of two seeds, the half width is √(t²(S-1) s²/S + t²(n-1) C), where t(k) is the quantile of
    Student's t with k degrees of freedom. The variances are those of Obuchowski & Rockette 1995, Commun Stat Simul
    Comput 24:285. The quantiles follow Banerjee 1960, Sankhyā 22:357, whose bound never covers less than its level for
    normal data.

    Args:
        predictions_a: [seeds, items], class labels (mcc, f1_macro) or scores of class 1 (auroc); or log-probabilities
            [seeds, items, classes]. A prediction that is no class gets a label that no item has.
        predictions_b: the same of the other method, with the same seeds and items in the same order.
        truth: class labels [items].
        metric: one of `DIFFERENCE_METRICS`; auroc is for two classes, 0 and 1.
        level: confidence level.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1, or the metric is unknown.
    """
    check_level(level)
    differences, covariance, reason = differences_and_covariance(predictions_a, predictions_b, truth, metric)
    seeds, items = len(differences), np.size(truth)
    if reason is None:
        reason = refuse_values(differences)
    if reason or covariance is None:
        nothing = refused(differences, level, reason or "the items give no variance")
        return PairedDifference(metric, seeds, items, tuple(differences.tolist()), nothing)
    seed_variance, item_variance = (float(part) for part in variance_components(differences, covariance))
    mean = float(differences.mean())
    found = PairedDifference(
        metric,
        seeds,
        items,
        tuple(differences.tolist()),
        Interval(mean, None, None, level),
        _p_value(mean, seed_variance, item_variance, seeds, items),
        seed_variance,
        item_variance,
    )
    return dataclasses.replace(found, interval=found.interval_at(level))


def differences_and_covariance(
    predictions_a: np.ndarray, predictions_b: np.ndarray, truth: np.ndarray, metric: str
) -> tuple[np.ndarray, np.ndarray | None, str | None]:
    """Return the difference of each seed [seeds], their covariance over samples of items [seeds, seeds], and a reason.

    The covariance is that of the items' influence on the metric (infinitesimal jackknife); for auroc that is DeLong's,
    DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837. The arguments are those of `paired_difference`. If
    there is a reason why no statement is possible, the covariance is None; the differences may still be known.

    Raises:
        ConfigurationError: the metric is unknown.
    """
    if metric not in DIFFERENCE_METRICS:
        raise ConfigurationError(
            f"no paired comparison by the metric {metric!r}",
            where="metric",
            fix=f"choose one of {', '.join(DIFFERENCE_METRICS)}",
        )
    a, b, labels = np.asarray(predictions_a), np.asarray(predictions_b), np.asarray(truth)
    nothing = np.empty(0)
    reason = refuse_arrays(a, b, labels, metric)
    if reason:
        return nothing, None, reason
    a, b = (_two_dimensional(array, metric) for array in (a, b))
    if metric == "auroc":
        reason = refuse_classes(labels)
        if reason:
            return nothing, None, reason
        (values_a, strata_a), (values_b, strata_b) = auroc(a, labels == 1), auroc(b, labels == 1)
    else:
        # The list of classes is shared, because the label for 'no class' may occur in one method only.
        classes, codes = np.unique(np.concatenate([labels, a.ravel(), b.ravel()]), return_inverse=True)
        true, first, second = np.split(codes, [len(labels), len(labels) + a.size])
        of = mcc if metric == "mcc" else f1_macro
        values_a, strata_a = of(first.reshape(a.shape), true, len(classes))
        values_b, strata_b = of(second.reshape(b.shape), true, len(classes))
    differences = values_a - values_b
    for method, array in (("first", a), ("second", b)):
        constant = np.flatnonzero((array == array[:, :1]).all(axis=1))
        if len(constant):
            return differences, None, f"run {constant[0] + 1} of the {method} method {SAME_PREDICTION}"
    covariance = sum(
        np.atleast_2d(np.cov(part_a - part_b)) / part_a.shape[1]
        for part_a, part_b in zip(strata_a, strata_b, strict=True)
    )
    return differences, np.asarray(covariance), None


def variance_components(differences: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance between seeds, and the variance that the items cause in all seeds together.

    The variance of the mean over S seeds is the first ÷ S plus the second. The first already contains the noise that
    the items cause in each seed separately, so only the covariance between different seeds is added; adding the whole
    variance of the items would count that noise twice.

    Args:
        differences: [..., seeds].
        covariance: [..., seeds, seeds], as `differences_and_covariance` returns it.
    """
    seeds = differences.shape[-1]
    own = np.trace(covariance, axis1=-2, axis2=-1)
    shared = (covariance.sum(axis=(-2, -1)) - own) / (seeds * (seeds - 1))
    return differences.var(axis=-1, ddof=1), np.maximum(shared, 0)


def _two_dimensional(array: np.ndarray, metric: str) -> np.ndarray:
    """Return labels or scores [seeds, items] from log-probabilities [seeds, items, classes]; other arrays unchanged."""
    if array.ndim == 2:
        return array
    return class_probabilities(array)[:, :, 1] if metric == "auroc" else array.argmax(axis=2)


def _p_value(mean: float, seed_variance: float, item_variance: float, seeds: int, items: int) -> float:
    """Return the α at which a limit of the 1 - α interval is 0."""

    def excess(log_alpha: float) -> float:
        return float(half_width(seed_variance, item_variance, seeds, items, math.exp(log_alpha))) - abs(mean)

    if mean == 0:
        return 1.0
    # For smaller α the squares of the quantiles overflow, and such values do not matter.
    if excess(_LEAST_LOG_P) < 0:
        return math.exp(_LEAST_LOG_P)
    return math.exp(optimize.brentq(excess, _LEAST_LOG_P, 0.0, xtol=1e-12))
