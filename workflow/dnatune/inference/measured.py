"""A metric of the runs of a method, differences between two methods, and what the test items contribute to each."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy import sparse, special

from dnatune.errors import ConfigurationError
from dnatune.inference import influence, reasons
from dnatune.inference.probabilities import log_ratios

#: What readers call the metrics that are known here.
METRIC_NAMES = {"mcc": "MCC", "f1_macro": "macro F1", "auroc": "AUROC", "log_loss": "log loss"}
DIFFERENCE_METRICS = tuple(METRIC_NAMES)
#: Those that are better if they are lower.
LOWER_IS_BETTER = ("log_loss",)
#: Those that look at the predicted class only.
OF_LABELS = ("mcc", "f1_macro")


@dataclasses.dataclass(frozen=True)
class ClassItems:
    """The test items of a class. The class with the fewest independent ones limits how well a metric can be known.

    MCC of more than two classes rests on the items outside the most frequent class together, macro F1 and AUROC on each
    class, and log loss on none in particular.

    Attributes:
        places: of these items among all.
        words: which they are.
    """

    places: np.ndarray
    words: str

    def independent(self, clusters: np.ndarray | None) -> int:
        """Return the number of clusters of these items; without clusters, numbers from 0 [items], each item is one."""
        return len(self.places) if clusters is None else _distinct(clusters[self.places])

    def too_few(self, clusters: np.ndarray | None) -> str | None:
        """Return why these items are too few for a test; None if they are enough."""
        return reasons.refuse_items(self.independent(clusters), self.words)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A metric of each run of a method.

    Attributes:
        metric: one of `DIFFERENCE_METRICS`.
        values: of each run [runs].
        influence: of each test item on them [runs, items].
        strata: the sample that an item belongs to [items]; items are drawn from each by itself. One for all items,
            except for the AUROC of two classes.
        constant: whether a run gives one answer to all items [runs].
        classes: the items of each class on which the metric rests.
        reason: why there are no values; None if there are.
    """

    metric: str
    values: np.ndarray
    influence: np.ndarray
    strata: np.ndarray
    constant: np.ndarray
    classes: tuple[ClassItems, ...] = ()
    reason: str | None = None

    def of(self, runs: Sequence[int]) -> Self:
        """Return some of the runs, by place; the runs of a fixed classifier, of which there is one, may be repeated."""
        if self.reason:
            return self
        chosen = {name: getattr(self, name)[list(runs)] for name in ("values", "influence", "constant")}
        return dataclasses.replace(self, **chosen)


@dataclasses.dataclass(frozen=True)
class Difference:
    """A metric of one method minus that of another for each common seed, on one task or averaged over several.

    Attributes:
        metric: one of `DIFFERENCE_METRICS`.
        values: of each seed [seeds].
        influence: of each test item on them [seeds, items].
        strata: as in `Measured`.
        classes: as in `Measured`, of all tasks.
        some_constant: whether a run of either gives one answer to all items.
        all_constant: whether every run of both does.
        reason: why nothing can be said; None if something can. There may be values nevertheless.
    """

    metric: str
    values: np.ndarray
    influence: np.ndarray
    strata: np.ndarray
    classes: tuple[ClassItems, ...] = ()
    some_constant: bool = False
    all_constant: bool = False
    reason: str | None = None


def measure(predictions: np.ndarray, truth: np.ndarray, metric: str, names: Sequence[str] | None = None) -> Measured:
    """Return a metric of each run and the influence of each item.

    AUROC is that of the log-ratios of two classes; of more, the mean over the classes, each against the rest.

    Args:
        predictions: [runs, items], class labels (mcc, f1_macro) or scores of class 1 (auroc); or log-probabilities
            [runs, items, classes]. A prediction that is no class gets a label that no item has.
        truth: class labels [items]; from 0 where predictions are log-probabilities.
        metric: one of `DIFFERENCE_METRICS`.
        names: of the classes, from 0, for reasons in words; None if the class labels are named as they are.

    Raises:
        ConfigurationError: the metric is unknown.
    """
    if metric not in DIFFERENCE_METRICS:
        raise ConfigurationError(
            f"no paired comparison by the metric {metric!r}",
            where="metric",
            fix=f"choose one of {', '.join(DIFFERENCE_METRICS)}",
        )
    given, labels = np.asarray(predictions), np.asarray(truth)
    reason = reasons.refuse_predictions(given, labels, metric, metric in OF_LABELS)
    if reason:
        empty = np.empty(0)
        return Measured(metric, empty, np.empty((0, 0)), empty, np.empty(0, bool), reason=reason)
    members, strata = _classes(labels, metric, names), np.zeros(len(labels), int)
    if metric in OF_LABELS:
        found = given if given.ndim == 2 else given.argmax(axis=2)
        classes, codes = np.unique(np.concatenate([labels, found.ravel()]), return_inverse=True)
        true, codes = codes[: len(labels)], codes[len(labels) :].reshape(found.shape)
        of = influence.mcc if metric == "mcc" else influence.f1_macro
        values, contributions = of(codes, true, len(classes))
        return Measured(metric, values, contributions, strata, (codes == codes[:, :1]).all(axis=1), members)
    if metric == "auroc":
        values, contributions = _auroc(given, labels)
        strata = (labels == 1).astype(int) if given.ndim == 2 or given.shape[2] == 2 else strata
    else:
        values, contributions = influence.log_loss(special.log_softmax(given, axis=2), labels.astype(int))
    return Measured(metric, values, contributions, strata, np.zeros(len(values), bool), members)


def _classes(truth: np.ndarray, metric: str, names: Sequence[str] | None) -> tuple[ClassItems, ...]:
    if metric == "log_loss":
        return ()
    found, counts = np.unique(truth, return_counts=True)
    words = {one: f"of class {one if names is None else names[one]}" for one in found}
    if metric == "mcc" and len(found) > 2:
        most = found[counts.argmax()]
        rest = ClassItems(
            np.flatnonzero(truth != most), f"of other classes than {words[most].removeprefix('of class ')}"
        )
        return ClassItems(np.flatnonzero(truth == most), words[most]), rest
    return tuple(ClassItems(np.flatnonzero(truth == one), words[one]) for one in found)


def _auroc(given: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if given.ndim == 2:
        return influence.auroc(given, truth == 1)
    ratios = log_ratios(given)
    if ratios.shape[2] == 2:
        return influence.auroc(ratios[:, :, 1], truth == 1)
    each = [influence.auroc(ratios[:, :, one], truth == one) for one in range(ratios.shape[2])]
    return np.mean([values for values, _ in each], axis=0), np.mean([part for _, part in each], axis=0)


def fewest(classes: Sequence[ClassItems], clusters: np.ndarray | None) -> ClassItems | None:
    """Return the class with the fewest independent items; None if the metric rests on none."""
    return min(classes, key=lambda one: one.independent(clusters), default=None)


def subtract(first: Measured, second: Measured) -> Difference:
    """Return the first minus the second; both have the same seeds and test items in the same order."""
    nothing = np.empty(0)
    reason = first.reason or second.reason or reasons.refuse_shapes(first.influence.shape, second.influence.shape)
    if reason:
        return Difference(first.metric, nothing, np.empty((0, 0)), nothing, reason=reason)
    return Difference(
        first.metric,
        first.values - second.values,
        first.influence - second.influence,
        first.strata,
        first.classes,
        bool((first.constant | second.constant).any()),
        bool((first.constant & second.constant).all()),
    )


def average(differences: Sequence[Difference], tasks: Sequence[str] | None = None) -> Difference:
    """Return the mean over tasks of the difference of each seed. The items of all tasks follow one another.

    Args:
        differences: one or more, of the same seeds in the same order.
        tasks: their names, for reasons in words.
    """
    if reason := next((one.reason for one in differences if one.reason), None):
        nothing = np.empty(0)
        return Difference(differences[0].metric, nothing, np.empty((0, 0)), nothing, reason=reason)
    items = sum(one.influence.shape[1] for one in differences)
    # The variance is that of the sum of influences over the number of items; here over that of all tasks together.
    parts = [one.influence * (items / (len(differences) * one.influence.shape[1])) for one in differences]
    firsts = np.cumsum([0, *(one.strata.max() + 1 for one in differences)])
    starts = np.cumsum([0, *(one.influence.shape[1] for one in differences)])
    words = [f" of {task}" for task in tasks] if tasks and len(tasks) > 1 else [""] * len(differences)
    classes = tuple(
        ClassItems(part.places + start, part.words + task)
        for one, start, task in zip(differences, starts, words, strict=False)
        for part in one.classes
    )
    return Difference(
        differences[0].metric,
        np.mean([one.values for one in differences], axis=0),
        np.concatenate(parts, axis=1),
        np.concatenate([one.strata + first for one, first in zip(differences, firsts, strict=False)]),
        classes,
        any(one.some_constant for one in differences),
        all(one.all_constant for one in differences),
    )


def item_covariance(difference: Difference, clusters: np.ndarray | None = None) -> np.ndarray:
    """Return the covariance of the seeds' differences over samples of test items [seeds, seeds].

    It is that of the items' influence (infinitesimal jackknife), summed within clusters, because the items of a cluster
    are drawn together. Of the AUROC of two classes it is DeLong's (DeLong, DeLong & Clarke-Pearson 1988, Biometrics
    44:837), in clusters that of Obuchowski 1997, Biometrics 53:567.

    Args:
        difference: without a reason.
        clusters: the cluster of each item [items]; None if each is its own.
    """
    items = difference.influence.shape[1]
    numbers = np.arange(items) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    covariance = _scatter(difference.influence, numbers) * _correction(numbers)
    strata = np.unique(difference.strata)
    for stratum in strata if len(strata) > 1 else ():
        own = difference.strata == stratum
        correction = _correction(numbers[own]) - _correction(numbers)
        covariance += correction * _scatter(difference.influence[:, own], numbers[own])
    return covariance / items**2


def _scatter(contributions: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return Σ over clusters of the products of their sums [seeds, seeds]; clusters are numbers from 0 [items]."""
    items = len(clusters)
    member = sparse.csr_array((np.ones(items), (np.arange(items), clusters)), shape=(items, clusters.max() + 1))
    sums = (member.T @ contributions.T).T
    return sums @ sums.T


def _correction(clusters: np.ndarray) -> float:
    number = _distinct(clusters)
    return number / (number - 1)


def _distinct(clusters: np.ndarray) -> int:
    """Return how many of the numbers from 0 occur; this is faster than `np.unique`."""
    return int(np.count_nonzero(np.bincount(clusters)))
