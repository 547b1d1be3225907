"""Signs that a base model has seen a task's test split before, from its predictions without fine-tuning.

A base model that was trained on a test set makes every optimizer look good. Most signs have other possible causes,
which docs/contamination.md lists.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from dnatune.contracts import Record
from dnatune.data.records import Split
from dnatune.evaluation import baselines, earlier_training, metrics

#: A sign needs a p-value of at most LEVEL; a loss or gap must also be at least LEAST, as a share of the items.
LEVEL, LEAST = 0.01, 0.05
#: Share of the bases that are replaced in a changed item.
CHANGED = 0.05
Sign = Literal["as_good_as_trained", "as_good_in_another_order", "knows_the_items", "better_than_on_dev", "in_manifest"]
_PERMUTATIONS = 9_999
#: With fewer items in a split, the gap between the splits is not tested.
_FEWEST = 30
_MOST_WORD_ORDERS = 200


class Contamination(Record):
    """contamination.json: what a base model's predictions without training show.

    A prediction is the label that gains most over its mean over the items. The p-values are one-sided.
    """

    model: str
    """Name of the base model."""
    task: str
    """Name of the task."""
    items: int
    """Test items that were looked at."""
    mcc: float | None
    """MCC of the predictions; `null` like the two other MCCs if the items are all of one class."""
    mcc_p: float
    """p-value of `mcc`, by permutation of the labels over the items."""
    control_mcc: float | None
    """MCC on the same items of the better of k-mers and GC content, fitted to the training split."""
    permuted_words_mcc: float | None
    """Highest MCC with the label words in another order."""
    permuted_words_p: float
    """p-value of that highest MCC, by permutation of the labels over the items."""
    accuracy: float
    """Accuracy on the items."""
    changed_accuracy: float
    """Accuracy on the items with 5 % of their bases changed."""
    excess_loss: float
    """Accuracy lost by the change beyond what k-mers lose."""
    excess_loss_p: float
    """p-value of `excess_loss`."""
    dev_items: int
    """Dev items that were looked at."""
    dev_accuracy: float
    """Accuracy on the dev items."""
    dev_gap: float
    """Accuracy above that of k-mers on test items, less the same on dev items."""
    dev_gap_p: float
    """p-value of `dev_gap`."""
    manifest_items: int | None
    """Digests in the manifest of earlier training data; `null` without one."""
    in_manifest: list[int]
    """Rows of the test split that the manifest has."""
    signs: list[Sign]
    """What speaks for contamination."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of a classifier for a set of items.

    Attributes:
        truth: true class indices [items].
        predicted: predicted class indices [items].
    """

    truth: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Return 1 for a correct prediction and 0 for a wrong one [items]."""
        return (self.truth == self.predicted).astype(float)

    @property
    def mcc(self) -> float | None:
        """Return Matthews' correlation; None if all items are of one class."""
        classes = int(max(self.truth.max(), self.predicted.max())) + 1
        return metrics.from_predictions(self.truth.tolist(), self.predicted.tolist(), classes).mcc


def measure(
    train: Split,
    dev: Split,
    test: Split,
    classes: int,
    items: int,
    score: Callable[[Split], np.ndarray],
    *,
    model: str = "",
    task: str = "",
    manifest: frozenset[str] | None = None,
) -> Contamination:
    """Return what a base model's predictions show.

    Args:
        train, dev, test: the splits. The controls are fitted to the training split, which the base model should not
            have seen.
        classes: number of the task's classes.
        items: maximum number of test items, and of dev items, drawn at random.
        score: returns the base model's log-probability of each label [examples, labels].
        model, task: names of the base model and the task.
        manifest: digests of earlier training sequences.
    """
    listed = [] if manifest is None else earlier_training.in_manifest(test.sequences, manifest)
    generator, whole_dev = np.random.default_rng(0), dev
    test, dev = (_sample(split, items, generator) for split in (test, dev))
    other = dataclasses.replace(test, sequences=[changed(sequence, generator) for sequence in test.sequences])
    truth, dev_truth = np.array(test.labels), np.array(dev.labels)
    scores, other_scores, dev_scores = map(score, (test, other, dev))
    base = Predictions(truth, preferred(scores, scores))
    base_other = Predictions(truth, preferred(other_scores, scores))
    base_dev = Predictions(dev_truth, preferred(dev_scores, scores))
    classifiers = {name: baselines.fit(name, train, whole_dev, classes) for name in ("kmers", "gc")}

    def control(name: str, part: Split) -> Predictions:
        return Predictions(np.array(part.labels), classifiers[name](part.sequences).argmax(axis=1))

    kmers, kmers_other, kmers_dev = (control("kmers", part) for part in (test, other, dev))
    loss, loss_p = excess_loss((base, base_other), (kmers, kmers_other))
    gap, gap_p = dev_gap((base, base_dev), (kmers, kmers_dev))
    found = Contamination(
        model=model,
        task=task,
        items=len(test),
        mcc=base.mcc,
        mcc_p=permutation_p(base),
        control_mcc=_highest([kmers.mcc, control("gc", test).mcc]),
        permuted_words_mcc=permuted_words_mcc(base, classes),
        permuted_words_p=permuted_words_p(base, classes),
        accuracy=float(base.correct.mean()),
        changed_accuracy=float(base_other.correct.mean()),
        excess_loss=loss,
        excess_loss_p=loss_p,
        dev_items=len(dev),
        dev_accuracy=float(base_dev.correct.mean()),
        dev_gap=gap,
        dev_gap_p=gap_p,
        manifest_items=None if manifest is None else len(manifest),
        in_manifest=listed,
        signs=[],
    )
    return found.model_copy(update={"signs": contamination_signs(found)})


def _sample(split: Split, most: int, generator: np.random.Generator) -> Split:
    if len(split) <= most:
        return split
    return split.subset(sorted(generator.choice(len(split), most, replace=False)))


def preferred(log_probabilities: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the class of each item whose log-probability is furthest above its mean over the reference items [items].

    An untrained model prefers one label word for every item. Without subtracting the mean, that preference would hide
    what the model knows.

    Args:
        log_probabilities: log-probabilities of the items [items, classes].
        reference: log-probabilities of the items over which the mean is taken [items, classes].
    """
    return (log_probabilities - reference.mean(axis=0)).argmax(axis=1)


def changed(sequence: str, generator: np.random.Generator) -> str:
    """Return a sequence in which 5 % of the bases, at least one, are replaced by others at random positions."""
    bases = list(sequence)
    for place in generator.choice(len(bases), max(1, round(CHANGED * len(bases))), replace=False):
        bases[place] = generator.choice([base for base in "ACGT" if base != bases[place]])
    return "".join(bases)


def permutation_p(predictions: Predictions, seed: int = 0) -> float:
    """Return the one-sided p-value of an MCC above 0, from 9,999 random permutations of the labels.

    With fixed margins, MCC grows with the number of correct predictions, so these numbers are compared.
    """
    generator = np.random.default_rng(seed)
    right = predictions.correct.sum()
    labels = predictions.truth.copy()
    reached = 0
    for _ in range(_PERMUTATIONS):
        generator.shuffle(labels)
        reached += (labels == predictions.predicted).sum() >= right
    return (reached + 1) / (_PERMUTATIONS + 1)


def permuted_words_mcc(predictions: Predictions, classes: int, seed: int = 0) -> float | None:
    """Return the highest MCC with the label words in another order, over all other orders or 200 random ones.

    A model that separates the classes but learnt them under other words reaches a high MCC with another order. The
    result is None if all items are of one class.
    """
    orders = _word_orders(classes, seed)
    return _highest([Predictions(predictions.truth, order[predictions.predicted]).mcc for order in orders])


def permuted_words_p(predictions: Predictions, classes: int, seed: int = 0) -> float:
    """Return the one-sided p-value of `permuted_words_mcc`, from 9,999 random permutations of the labels.

    For each permutation the best of the same orders counts, which accounts for the choice among them.
    """
    generator, orders = np.random.default_rng(seed), _word_orders(classes, seed)
    labels, places = predictions.truth.copy(), np.arange(classes)
    owned, guessed = (np.bincount(part, minlength=classes) for part in (predictions.truth, predictions.predicted))
    # For each order, MCC is (correct predictions − chance) ÷ a factor that depends on neither order nor labels.
    chance = (owned[orders] * guessed).sum(axis=1)

    def best() -> int:
        table = np.bincount(labels * classes + predictions.predicted, minlength=classes**2).reshape(classes, classes)
        return int((len(labels) * table[orders, places].sum(axis=1) - chance).max())

    observed, reached = best(), 0
    for _ in range(_PERMUTATIONS):
        generator.shuffle(labels)
        reached += best() >= observed
    return (reached + 1) / (_PERMUTATIONS + 1)


def _word_orders(classes: int, seed: int) -> np.ndarray:
    """Return the class that each word stands for in orders other than the true one [orders, classes]."""
    if math.factorial(classes) - 1 <= _MOST_WORD_ORDERS:
        return np.array(list(itertools.permutations(range(classes)))[1:])
    generator = np.random.default_rng(seed)
    drawn = {tuple(generator.permutation(classes).tolist()) for _ in range(_MOST_WORD_ORDERS)}
    return np.array(sorted(drawn - {tuple(range(classes))}))


def _highest(values: Sequence[float | None]) -> float | None:
    return None if None in values else max(values)


def excess_loss(base: tuple[Predictions, Predictions], control: tuple[Predictions, Predictions]) -> tuple[float, float]:
    """Return how much more accuracy a model loses than a control if items are changed, and the one-sided p-value.

    This is the comparison with neighbours of Mattern et al. 2023 (arXiv 2305.18462); the control accounts for the
    information that the change destroys. The p-value is that of a t-test over items, each of which is scored four
    times.

    Args:
        base: the model's predictions for the items and for the changed items.
        control: the same predictions of a classifier that has not seen the items.
    """
    losses = [before.correct - after.correct for before, after in (base, control)]
    return _mean_and_p(losses[0] - losses[1])


def dev_gap(base: tuple[Predictions, Predictions], control: tuple[Predictions, Predictions]) -> tuple[float, float]:
    """Return how much larger a model's advantage over a control is on test than on dev, and the one-sided p-value.

    The control accounts for splits of different difficulty, which occur in some tasks of GUE. The p-value is that of
    Welch's t-test over items, or 1 if a split has fewer than 30 items.

    Args:
        base: the model's predictions for the test items and for the dev items.
        control: the same predictions of a classifier that has seen neither split.
    """
    test, dev = (one.correct - other.correct for one, other in zip(base, control, strict=True))
    difference = float(test.mean() - dev.mean())
    if min(len(test), len(dev)) < _FEWEST:
        return difference, 1.0
    p = stats.ttest_ind(test, dev, equal_var=False, alternative="greater").pvalue
    # Without any spread in both splits t is not defined; then p is 0 if the difference is positive, otherwise 1.
    return difference, float(p) if np.isfinite(p) else float(difference <= 0)


def _mean_and_p(values: np.ndarray) -> tuple[float, float]:
    mean = float(values.mean())
    if not values.any() or np.ptp(values) == 0:
        return mean, float(mean <= 0)
    return mean, float(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)


def contamination_signs(found: Contamination) -> list[Sign]:
    """Return the names of the signs that the other values raise."""
    above_chance = found.mcc_p <= LEVEL
    told_apart = found.permuted_words_p <= LEVEL
    checks = {
        # A model that has never seen a task is not as good as a classifier that was trained on it,
        "as_good_as_trained": above_chance and found.mcc >= found.control_mcc,
        # nor does it separate the classes as well under other words.
        "as_good_in_another_order": told_apart and found.permuted_words_mcc >= found.control_mcc,
        "knows_the_items": above_chance and found.excess_loss_p <= LEVEL and found.excess_loss >= LEAST,
        "better_than_on_dev": above_chance and found.dev_gap_p <= LEVEL and found.dev_gap >= LEAST,
        "in_manifest": bool(found.in_manifest),
    }
    return [sign for sign, raised in checks.items() if raised]


def flagged(found: Iterable[Contamination]) -> set[tuple[str, str]]:
    """Return (model, task) of every base model with a sign."""
    return {(one.model, one.task) for one in found if one.signs}
