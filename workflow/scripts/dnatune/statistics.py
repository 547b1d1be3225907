"""Better, worse, equivalent or inconclusive: what a few seeds and one test set allow to say.

A difference between two methods varies for two reasons: another seed gives other models, another draw of test items
gives other scores. More seeds average out the first and leave the second, for all of them are scored on the same items.
docs/statistics.md derives the formulas and shows how they were calibrated.

Nothing here raises for data that allow no statement: the answer then carries the reason.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import optimize, special, stats

from dnatune.errors import ConfigurationError

#: Metrics that `paired_difference` knows; higher is better for each of them.
DIFFERENCE_METRICS = ("mcc", "f1_macro", "auroc")
#: Fewest seeds that an interval is given for. With two, t is 12.7 and one lucky pair decides.
FEWEST_SEEDS = 3

_MOST_SEEDS = 10_000
_LEAST_LOG_P = -300.0
_SHARES = (np.arange(2_000) + 0.5) / 2_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate between two limits, or the reason why there are none.

    Attributes:
        estimate: point estimate; None where there is not even that.
        low: lower limit; None when refused.
        high: upper limit; None when refused.
        level: confidence level, 0.95 for 95 %.
        reason: why there are no limits; None when there are.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    reason: str | None = None

    def within(self, margin: float) -> bool:
        """Return whether all of the interval lies strictly between -margin and margin."""
        return self.low is not None and self.high is not None and -margin < self.low and self.high < margin


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """A metric of method A minus that of method B, over seeds and test items that both share.

    Attributes:
        metric: one of `DIFFERENCE_METRICS`.
        seeds: number of seeds.
        items: number of test items.
        differences: the difference of each seed [seeds]; empty where the metric has no value.
        interval: the difference expected of a new seed on new test items.
        p_value: two-sided, of no such difference; None when refused.
        seed_variance: variance of the difference from seed to seed on the same items; None when refused.
        item_variance: variance that the choice of test items gives to the difference of every seed alike, and that no
            number of seeds averages out; None when refused.
    """

    metric: str
    seeds: int
    items: int
    differences: tuple[float, ...]
    interval: Interval
    p_value: float | None = None
    seed_variance: float | None = None
    item_variance: float | None = None

    def interval_at(self, level: float) -> Interval:
        """Return the interval at another confidence level."""
        if self.interval.estimate is None or self.seed_variance is None or self.item_variance is None:
            return dataclasses.replace(self.interval, level=level)
        half = float(half_width(self.seed_variance, self.item_variance, self.seeds, self.items, 1 - level))
        return Interval(self.interval.estimate, self.interval.estimate - half, self.interval.estimate + half, level)


@dataclasses.dataclass(frozen=True)
class McNemar:
    """Two classifiers on the same items.

    Attributes:
        only_a: items that only the first gets right; None when refused.
        only_b: items that only the second gets right; None when refused.
        p_value: exact and two-sided; 1 if neither count is above 0; None when refused.
        reason: why there is no test; None when there is.
    """

    only_a: int | None
    only_b: int | None
    p_value: float | None
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a comparison comes to.

    Attributes:
        word: the verdict on the first method.
        within_margin: whether the (1 - 2α) interval lies within the margin. A method can be better and within it.
        sentence: the verdict in plain words.
    """

    word: Literal["better", "worse", "equivalent", "inconclusive"]
    within_margin: bool
    sentence: str


@dataclasses.dataclass(frozen=True)
class SeedsNeeded:
    """How many seeds a comparison needs.

    Attributes:
        seeds: the smallest sufficient number; None if none suffices or the question has no answer.
        power_now: power with the seeds there are; None without an answer.
        sentence: the answer in plain words.
    """

    seeds: int | None
    power_now: float | None
    sentence: str


def seed_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return mean and t-interval of one metric over seeds [seeds].

    The interval is about seeds alone: it holds for this test set.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    _check_level(level)
    data = np.asarray(values, dtype=float)
    reason = _refuse_values(data)
    if reason:
        return _refused(data, level, reason)
    half = stats.t.isf((1 - level) / 2, len(data) - 1) * data.std(ddof=1) / math.sqrt(len(data))
    mean = float(data.mean())
    return Interval(mean, mean - float(half), mean + float(half), level)


def paired_difference(
    predictions_a: np.ndarray, predictions_b: np.ndarray, truth: np.ndarray, metric: str = "mcc", level: float = 0.95
) -> PairedDifference:
    """Return how much better method A is than method B, for new seeds and new test items.

    With S seeds, n items, s² the variance of the difference between seeds and C the covariance, through the items, of
    the differences of two seeds, the half width is √(t²(S-1) s²/S + t²(n-1) C), where t(k) is the quantile of Student's
    t with k degrees of freedom. Variances: Obuchowski & Rockette 1995, Commun Stat Simul Comput 24:285. Quantiles:
    Banerjee 1960, Sankhyā 22:357, whose bound never covers less than its level for normal data.

    Args:
        predictions_a: [seeds, items], class labels (mcc, f1_macro) or scores of class 1 (auroc); or log-probabilities
            [seeds, items, classes]. An answer that names no class gets a label that no item has.
        predictions_b: the same of the other method, with the same seeds and items in the same order.
        truth: class labels [items].
        metric: one of `DIFFERENCE_METRICS`; auroc is for two classes, 0 and 1.
        level: confidence level.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1, or the metric is unknown.
    """
    _check_level(level)
    differences, covariance, reason = differences_and_covariance(predictions_a, predictions_b, truth, metric)
    seeds, items = len(differences), np.size(truth)
    if reason is None:
        reason = _refuse_values(differences)
    if reason or covariance is None:
        refused = _refused(differences, level, reason or "the items give no variance")
        return PairedDifference(metric, seeds, items, tuple(differences.tolist()), refused)
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
    """Return the difference of each seed [seeds], their covariance over draws of items [seeds, seeds], and a refusal.

    The covariance is that of the items' influence on the metric (infinitesimal jackknife); for auroc that is DeLong's,
    DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44:837. The arguments are those of `paired_difference`. The
    covariance is None with the refusal; the differences may be known all the same.

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
    reason = _refuse_arrays(a, b, labels, metric)
    if reason:
        return nothing, None, reason
    a, b = (_two_dimensional(array, metric) for array in (a, b))
    if metric == "auroc":
        reason = _refuse_classes(labels)
        if reason:
            return nothing, None, reason
        (values_a, strata_a), (values_b, strata_b) = _auroc(a, labels == 1), _auroc(b, labels == 1)
    else:
        # A shared list of classes: the label of an unreadable answer may occur with one method alone.
        classes, codes = np.unique(np.concatenate([labels, a.ravel(), b.ravel()]), return_inverse=True)
        true, first, second = np.split(codes, [len(labels), len(labels) + a.size])
        of = _mcc if metric == "mcc" else _f1_macro
        values_a, strata_a = of(first.reshape(a.shape), true, len(classes))
        values_b, strata_b = of(second.reshape(b.shape), true, len(classes))
    differences = values_a - values_b
    for method, array in (("first", a), ("second", b)):
        constant = np.flatnonzero((array == array[:, :1]).all(axis=1))
        if len(constant):
            rest = "what its answers owe to chance cannot be estimated"
            return differences, None, f"run {constant[0] + 1} of the {method} method answers every item alike: {rest}"
    covariance = sum(
        np.atleast_2d(np.cov(part_a - part_b)) / part_a.shape[1]
        for part_a, part_b in zip(strata_a, strata_b, strict=True)
    )
    return differences, np.asarray(covariance), None


def variance_components(differences: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance between seeds and the variance of the items that seeds share.

    The variance of the mean over S seeds is the first divided by S plus the second. The first holds the noise that
    items give to each seed apart, so only the covariance of different seeds remains to be added: counting the items'
    whole variance would count that noise twice.

    Args:
        differences: [..., seeds].
        covariance: [..., seeds, seeds], as `differences_and_covariance` returns it.
    """
    seeds = differences.shape[-1]
    own = np.trace(covariance, axis1=-2, axis2=-1)
    shared = (covariance.sum(axis=(-2, -1)) - own) / (seeds * (seeds - 1))
    return differences.var(axis=-1, ddof=1), np.maximum(shared, 0)


def half_width(
    seed_variance: float | np.ndarray, item_variance: float | np.ndarray, seeds: int, items: int, alpha: float
) -> np.ndarray:
    """Return half the width of the 1 - alpha interval of `paired_difference`; the formula is there."""
    of_seeds, of_items = (stats.t.isf(alpha / 2, number - 1) for number in (seeds, items))
    return np.sqrt(of_seeds**2 * np.asarray(seed_variance) / seeds + of_items**2 * np.asarray(item_variance))


def mcnemar_exact(predicted_a: np.ndarray, predicted_b: np.ndarray, truth: np.ndarray) -> McNemar:
    """Return the exact McNemar test of two classifiers, one seed each, on the same items.

    It speaks of these two models, not of the methods: another seed is another model.

    Args:
        predicted_a: class labels [items].
        predicted_b: class labels [items] of the other.
        truth: class labels [items].
    """
    a, b, labels = (np.asarray(array) for array in (predicted_a, predicted_b, truth))
    if not (a.ndim == 1 and a.shape == b.shape == labels.shape and len(a)):
        return McNemar(
            None, None, None, f"labels of shape {a.shape}, {b.shape} and {labels.shape} are not one a test item"
        )
    if any(_has_nan(array) for array in (a, b, labels)):
        return McNemar(None, None, None, "a label is not a number")
    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((b == labels) & (a != labels)).sum())
    p_value = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p_value))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values adjusted for their number (Holm 1979, Scand J Stat 6:65).

    None and NaN are tests that were not made: they stay None and do not count.
    """
    adjusted: list[float | None] = [None] * len(p_values)
    made = sorted((p, place) for place, p in enumerate(p_values) if p is not None and not math.isnan(p))
    highest = 0.0
    for rank, (p, place) in enumerate(made):
        highest = max(highest, min(1.0, (len(made) - rank) * p))
        adjusted[place] = highest
    return adjusted


def probability_of_improvement(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Interval:
    """Return P(A > B) + ½ P(A = B) for a new run of each method with one seed, from metrics over seeds [seeds].

    Limits: exact binomial (Clopper & Pearson 1934, Biometrika 26:404), the lower one of P(A > B) and the upper one of
    P(A ≥ B). They cover at least their level whatever the runs of a seed have in common. Like `seed_interval`, the
    answer holds for this test set.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    _check_level(level)
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    reason = _refuse_pairs(first, second)
    if reason:
        return Interval(None, None, None, level, reason)
    seeds, wins, ties = len(first), int((first > second).sum()), int((first == second).sum())
    low = stats.binomtest(wins, seeds).proportion_ci(level).low
    high = stats.binomtest(wins + ties, seeds).proportion_ci(level).high
    return Interval((wins + ties / 2) / seeds, float(low), float(high), level)


def effect_size(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Interval:
    """Return Cohen's d of paired differences (d_z): their mean over their standard deviation, over seeds [seeds].

    The estimate has Hedges' correction for few seeds (Hedges 1981, J Educ Stat 6:107); the limits are exact for normal
    differences, from the noncentral t distribution, and need none. Like `seed_interval`, it holds for this test set.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    _check_level(level)
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    reason = _refuse_pairs(first, second) or _refuse_values(first - second)
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
        rest = "the noncentral t distribution has no limits that can be computed"
        return Interval(correction * ratio, None, None, level, f"at t = {t:.3g} {rest}")
    return Interval(correction * ratio, low / math.sqrt(seeds), high / math.sqrt(seeds), level)


def verdict(
    difference: PairedDifference,
    margin: float | None,
    adjusted_p: float | None,
    names: tuple[str, str] = ("A", "B"),
) -> Verdict:
    """Return better, worse, equivalent or inconclusive, and a sentence.

    With α = 1 - level of the difference: better or worse if the adjusted test rejects no difference at α; else
    equivalent if the whole (1 - 2α) interval lies within ±margin (two one-sided tests, Schuirmann 1987, J Pharmacokinet
    Biopharm 15:657); else inconclusive. A difference that is real and within the margin keeps its direction, and the
    sentence says that it is too small to matter.

    Args:
        difference: of the first method minus the second.
        margin: largest difference that does not matter, in units of the metric; None if none was set beforehand.
        adjusted_p: the difference's p-value after `holm` over all comparisons made; None where there is none.
        names: of the two methods, for the sentence.

    Raises:
        ConfigurationError: the margin is not above 0.
    """
    if margin is not None and not 0 < margin < math.inf:
        raise ConfigurationError(
            f"an equivalence margin of {margin}", where="margin", fix="give a difference above 0, or none at all"
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
    why = "; one comparison alone would show it, all those made together do not" if lost else ""
    return Verdict("inconclusive", False, f"{first} and {second}: {shown} ({amount}){why}.")


def power_of_difference(
    true_difference: float, seed_variance: float, item_variance: float, seeds: int, items: int, level: float = 0.95
) -> float:
    """Return the probability that `paired_difference` finds a true difference, in either direction.

    Normal data; the variance between seeds is estimated from `seeds` values, that of the items is taken as known.

    Args:
        true_difference: in units of the metric.
        seed_variance: variance of the difference between seeds on the same items.
        item_variance: variance that the items give to all seeds alike.
        seeds: number of seeds, two or more.
        items: number of test items.
        level: confidence level of the interval that has to leave out 0.
    """
    # Averages over the distribution of the estimated variance, at 2,000 equally likely values.
    estimated = seed_variance * stats.chi2.ppf(_SHARES, seeds - 1) / (seeds - 1)
    limits = half_width(estimated, item_variance, seeds, items, 1 - level)
    deviation = math.sqrt(seed_variance / seeds + item_variance)
    if deviation == 0:
        return float(true_difference != 0)
    found = special.ndtr((true_difference - limits) / deviation) + special.ndtr((-true_difference - limits) / deviation)
    return float(found.mean())


def seeds_needed(difference: PairedDifference, true_difference: float, power: float = 0.8) -> SeedsNeeded:
    """Return the smallest number of seeds that finds a true difference with the wanted power, or that there is none.

    The variances are those that were measured; from few seeds they are rough, and so is the answer.

    Args:
        difference: a comparison already made.
        true_difference: the difference worth finding, in units of the metric.
        power: wanted probability of finding it.

    Raises:
        ConfigurationError: the difference is 0 or not finite, or the power is not between 0 and 1.
    """
    if not 0 < power < 1:
        raise ConfigurationError(f"a power of {power}", where="power", fix="give a share between 0 and 1, such as 0.8")
    if true_difference == 0 or not math.isfinite(true_difference):
        raise ConfigurationError(
            f"a true difference of {true_difference}", where="true_difference", fix="give the difference worth finding"
        )
    spread, shared, level = difference.seed_variance, difference.item_variance, difference.interval.level
    if spread is None or shared is None:
        reason = difference.interval.reason
        return SeedsNeeded(None, None, f"The number of seeds needed cannot be computed: {reason}.")

    def power_with(seeds: int) -> float:
        return power_of_difference(true_difference, spread, shared, seeds, difference.items, level)

    wanted = f"a difference of {abs(true_difference):g} in {difference.metric} with {100 * power:.3g} % power"
    now = power_with(difference.seeds)
    if power_of_difference(true_difference, 0, shared, _MOST_SEEDS, difference.items, level) < power:
        shift = stats.norm.isf((1 - level) / 2) + stats.norm.ppf(power)
        items = math.ceil(difference.items * shared * (shift / true_difference) ** 2)
        return SeedsNeeded(
            None,
            now,
            f"No number of seeds suffices to find {wanted}: the test set of {difference.items:,} items is too small, "
            f"and would have to have more than {items:,}.",
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


def _mcc(labels: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return R_K [seeds] (Gorodkin 2004, Comput Biol Chem 28:367) and its influence [seeds, items].

    Args:
        labels: predicted classes, from 0 [seeds, items].
        truth: true classes, from 0 [items].
        classes: number of classes.
    """
    joint, cells = _joint(labels, truth, classes)
    predicted, true = joint.sum(axis=2), joint.sum(axis=1)
    right = np.trace(joint, axis1=1, axis2=2)
    chance = (predicted * true).sum(axis=1)
    square_predicted, square_true = (predicted**2).sum(axis=1), (true**2).sum(axis=1)
    rest_predicted, rest_true = 1 - square_predicted, 1 - square_true
    scale = np.sqrt(rest_predicted * rest_true)
    # A constant answer has no correlation; scikit-learn calls it 0, and differences_and_covariance refuses the rest.
    defined = scale > 0
    scale, rest_predicted = np.where(defined, scale, 1), np.where(defined, rest_predicted, 1)
    values = np.where(defined, (right - chance) / scale, 0)

    def spread(array: np.ndarray) -> np.ndarray:
        return array[:, None, None]

    agreement = np.eye(classes) - spread(right)
    expected = true[:, :, None] + predicted[:, None, :] - 2 * spread(chance)
    of_predicted = (predicted - square_predicted[:, None])[:, :, None] / spread(rest_predicted)
    of_true = (true - square_true[:, None])[:, None, :] / spread(rest_true)
    table = (agreement - expected) / spread(scale) + spread(values) * (of_predicted + of_true)
    return values, (_look_up(table, cells),)


def _f1_macro(labels: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the mean F1 of the classes that occur in the truth [seeds] and its influence; arguments as `_mcc`."""
    joint, cells = _joint(labels, truth, classes)
    occur = np.flatnonzero(joint[0].sum(axis=0) > 0)
    right = joint[:, occur, occur]
    either = (joint.sum(axis=2) + joint.sum(axis=1))[:, occur]
    scores = 2 * right / either
    is_predicted, is_true = np.eye(classes)[:, None, occur], np.eye(classes)[None, :, occur]
    slope = (2 * is_predicted * is_true - scores[:, None, None] * (is_predicted + is_true)) / either[:, None, None]
    return scores.mean(axis=1), (_look_up(slope.mean(axis=3), cells),)


def _joint(labels: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of (predicted, true) [seeds, classes, classes] and the cell of each item [seeds, items]."""
    cells = labels * classes + truth
    seeds, size = len(labels), classes**2
    counts = np.bincount((cells + size * np.arange(seeds)[:, None]).ravel(), minlength=seeds * size)
    return counts.reshape(seeds, classes, classes) / len(truth), cells


def _look_up(table: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table.reshape(len(table), -1), cells, axis=1)


def _auroc(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Return the AUROC [seeds] and the placements of positive and negative items [seeds, items of the class].

    By ranks, as Sun & Xu 2014, IEEE Signal Process Lett 21:1389.

    Args:
        scores: [seeds, items].
        positive: whether an item is of class 1 [items].
    """
    above, below = scores[:, positive], scores[:, ~positive]
    ranks = stats.rankdata(scores, axis=1)
    of_positive = (ranks[:, positive] - stats.rankdata(above, axis=1)) / below.shape[1]
    of_negative = 1 - (ranks[:, ~positive] - stats.rankdata(below, axis=1)) / above.shape[1]
    return of_positive.mean(axis=1), (of_positive, of_negative)


def _two_dimensional(array: np.ndarray, metric: str) -> np.ndarray:
    """Return labels or scores [seeds, items] from log-probabilities [seeds, items, classes]; others as they are."""
    if array.ndim == 2:
        return array
    return special.softmax(array, axis=2)[:, :, 1] if metric == "auroc" else array.argmax(axis=2)


def _p_value(mean: float, seed_variance: float, item_variance: float, seeds: int, items: int) -> float:
    """Return the α at which the 1 - α interval just reaches 0."""

    def excess(log_alpha: float) -> float:
        return float(half_width(seed_variance, item_variance, seeds, items, math.exp(log_alpha))) - abs(mean)

    if mean == 0:
        return 1.0
    # Further out the quantiles' squares overflow, and nobody asks.
    if excess(_LEAST_LOG_P) < 0:
        return math.exp(_LEAST_LOG_P)
    return math.exp(optimize.brentq(excess, _LEAST_LOG_P, 0.0, xtol=1e-12))


def _noncentrality(t: float, degrees: int, share: float) -> float | None:
    """Return the noncentrality at which a noncentral t variable stays below `t` with probability `share`."""

    def excess(noncentrality: float) -> float:
        return float(special.nctdtr(degrees, noncentrality, t)) - share

    # The ratio of two deviations of a t variable bounds how far the limits can lie from t.
    reach = 10 + 3 * abs(t)
    ends = excess(t - reach), excess(t + reach)
    if not (ends[0] > 0 > ends[1]):
        return None
    return float(optimize.brentq(excess, t - reach, t + reach))


def _check_level(level: float) -> None:
    # At 0.5 and below, the 1 - 2α interval of a verdict is empty.
    if not 0.5 < level < 1:
        raise ConfigurationError(
            f"a confidence level of {level}", where="level", fix="give 0.95, or another share above 0.5"
        )


def _refused(values: np.ndarray, level: float, reason: str) -> Interval:
    known = values.ndim == 1 and len(values) > 0 and bool(np.isfinite(values).all())
    return Interval(float(values.mean()) if known else None, None, None, level, reason)


def _refuse_number(values: np.ndarray) -> str | None:
    """Return why values over seeds are too few or not numbers."""
    if values.ndim != 1:
        return f"one value a seed is needed, not an array of shape {values.shape}"
    if not np.isfinite(values).all():
        return "a value is not a finite number"
    if len(values) < FEWEST_SEEDS:
        return f"{FEWEST_SEEDS} seeds are the fewest that an interval is given for, and there {_are(len(values))}"
    return None


def _refuse_pairs(first: np.ndarray, second: np.ndarray) -> str | None:
    """Return why values of two methods over seeds make no pairs."""
    if first.shape != second.shape:
        return _unpaired(first.size, second.size)
    return _refuse_number(first) or _refuse_number(second)


def _refuse_values(values: np.ndarray) -> str | None:
    """Return why values over seeds give no interval."""
    reason = _refuse_number(values)
    # Equal values can differ in their last bits, by the order of the sums that made them.
    if reason is None and np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        reason = f"all {len(values)} seeds give the same value, so that their spread cannot be estimated"
    return reason


def _refuse_arrays(a: np.ndarray, b: np.ndarray, truth: np.ndarray, metric: str) -> str | None:
    """Return why predictions cannot be compared, whatever they hold."""
    if a.ndim not in (2, 3) or b.ndim != a.ndim or truth.ndim != 1:
        return f"predictions of shape {a.shape} and {b.shape} are not [seeds, items] or [seeds, items, classes]"
    if len(a) != len(b):
        return _unpaired(len(a), len(b))
    if not len(a):
        return "there are no runs"
    if not a.shape[1] == b.shape[1] == len(truth) or a.shape != b.shape:
        return f"predictions of shape {a.shape} and {b.shape} do not fit {len(truth)} test items"
    if any(array.dtype.kind not in "biuf" or _has_nan(array) for array in (a, b, truth)):
        return "a prediction or a label is not a number"
    if a.ndim == 3 and (a.shape[2] < 2 or not all(np.isfinite(x.max(axis=2)).all() for x in (a, b))):
        return "an item has no class with a finite log-probability, or only one class"
    if len(np.unique(truth)) < 2:
        return "the test items are all of one class"
    if metric == "auroc" and a.ndim == 3 and a.shape[2] != 2:
        return f"auroc needs two classes, not {a.shape[2]}"
    if metric != "auroc" and a.ndim == 2 and any((array % 1 != 0).any() for array in (a, b)):
        return f"{metric} needs class labels, not scores"
    return None


def _refuse_classes(truth: np.ndarray) -> str | None:
    """Return why items of these classes give no AUROC."""
    if not np.isin(truth, (0, 1)).all():
        return "auroc needs two classes, 0 and 1"
    if min((truth == 0).sum(), (truth == 1).sum()) < 2:
        return "auroc needs two test items of each class at least"
    return None


def _has_nan(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _unpaired(first: int, second: int) -> str:
    return f"{first} runs of one method cannot be paired with {second} of the other: compare the seeds that both have"


def _are(number: int) -> str:
    return {0: "are none", 1: "is 1"}.get(number, f"are {number}")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"
