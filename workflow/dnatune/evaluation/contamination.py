"""Signs that a base model has seen a task's test split before, from its predictions without fine-tuning.

A base model that was trained on a test set makes every optimizer look good. Most signs have other possible causes,
which docs/contamination.md lists.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from dnatune.contracts import Record
from dnatune.data.records import Split
from dnatune.evaluation import label_permutation
from dnatune.evaluation.contrasts import Predictions, dev_gap, excess_loss
from dnatune.evaluation.questions import FEWEST, Questions, composition_preference

#: Probability, at most, that a base model whose answers depend on GC content or on nothing raises any sign.
LEVEL = 0.01
#: Every sign except `in_manifest` needs one of five tests at LEVEL / TESTS (Bonferroni): `mcc_within_gc_p`,
#: `permuted_words_within_gc_p`, `labels_p`, `labels_with_dev_p` or `other_strand_p`.
TESTS = 5
#: A loss or gap must be at least this share of the items.
LEAST = 0.05
_DECIMALS = 6
Sign = Literal[
    "knows_the_labels",
    "knows_the_other_strand",
    "as_good_as_trained",
    "as_good_in_another_order",
    "knows_the_items",
    "better_than_on_dev",
    "in_manifest",
]


class Contamination(Record):
    """contamination.json: what a base model's predictions without training show.

    A prediction is the label that gains most over its mean over the items. The p-values are one-sided; those of the
    MCCs, of the labels and of the other strand are by permutation of the labels among items of about equal GC content.
    """

    model: str
    """Name of the base model."""
    task: str
    """Name of the task."""
    classes: int
    """Number of the task's classes."""
    items: int
    """Test items that were looked at, each distinct sequence once."""
    mcc: float | None
    """MCC of the predictions; `null` like the two other MCCs if the items are all of one class."""
    mcc_within_gc_p: float
    """p-value of `mcc`."""
    control_mcc: float | None
    """MCC on the same items of the better of k-mers and GC content, fitted to the training split."""
    permuted_words_mcc: float | None
    """Highest MCC with the label words in another order."""
    permuted_words_within_gc_p: float
    """p-value of that highest MCC."""
    labels_p: float
    """p-value of the association between the model's preferences and what composition does not explain of the
    labels."""
    labels_with_dev_p: float
    """The same over test and dev items."""
    other_strand_p: float
    """The same over test items if the model is asked their reverse complements."""
    hard_items: int
    """Test items that k-mers predict wrongly."""
    hard_accuracy: float | None
    """Accuracy on these items, mean over the classes, of the model's preferences less what composition explains of
    them; `null` if there are none."""
    other_strand_hard_accuracy: float | None
    """The same if the model is asked the reverse complements of the items."""
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
class Answers:
    """A base model's log-probability of each label for each item of `Questions` [items, classes]."""

    test: np.ndarray
    changed: np.ndarray
    other_strand: np.ndarray
    dev: np.ndarray

    @classmethod
    def to(cls, questions: Questions, score: Callable[[Split], np.ndarray]) -> "Answers":
        """Ask a model, whose log-probabilities `score` returns."""
        return cls(*map(score, (questions.test, questions.changed, questions.other_strand, questions.dev)))


def measure(
    questions: Questions,
    answers: Answers,
    *,
    model: str = "",
    task: str = "",
    manifest_items: int | None = None,
    in_manifest: Sequence[int] = (),
) -> Contamination:
    """Return what a base model's answers show.

    Args:
        questions: the items and the controls.
        answers: the base model's answers.
        model, task: names of the base model and the task.
        manifest_items: number of digests in the manifest of earlier training data; None without a manifest.
        in_manifest: rows of the test split that the manifest has.
    """
    truth = questions.truth
    base = Predictions(truth, preferred(answers.test, answers.test))
    tables = label_permutation.permuted_tables(base.predicted, truth, questions.classes, questions.orders)
    beyond = beyond_composition(questions, answers)
    values = {
        "mcc": base.mcc,
        "mcc_within_gc_p": label_permutation.correct_p(tables),
        "control_mcc": _highest(Predictions(truth, part).mcc for part in (questions.kmers.test, questions.gc)),
        "permuted_words_mcc": permuted_words_mcc(base, questions.classes),
        "permuted_words_within_gc_p": label_permutation.permuted_words_p(tables),
        **_label_p_values(questions, beyond),
        "hard_items": int((questions.kmers.test != truth).sum()),
        "hard_accuracy": _hard_accuracy(questions, beyond.test),
        "other_strand_hard_accuracy": _hard_accuracy(questions, beyond.other_strand),
        **_contrasts(questions, answers, base),
    }
    found = Contamination(
        model=model,
        task=task,
        classes=questions.classes,
        items=len(truth),
        dev_items=len(questions.dev),
        manifest_items=manifest_items,
        in_manifest=list(in_manifest),
        signs=[],
        **values,
    )
    return found.model_copy(update={"signs": contamination_signs(found)})


def _contrasts(questions: Questions, answers: Answers, base: Predictions) -> dict[str, float]:
    """Return how the predictions compare with those for changed items and for dev items."""
    truth, dev_truth = questions.truth, np.array(questions.dev.labels)
    base_changed = Predictions(truth, preferred(answers.changed, answers.test))
    base_dev = Predictions(dev_truth, preferred(answers.dev, answers.test))
    control, control_changed = (Predictions(truth, part) for part in (questions.kmers.test, questions.kmers.changed))
    loss, loss_p = excess_loss((base, base_changed), (control, control_changed))
    gap, gap_p = dev_gap((base, base_dev), (control, Predictions(dev_truth, questions.kmers.dev)))
    return {
        "accuracy": float(base.correct.mean()),
        "changed_accuracy": float(base_changed.correct.mean()),
        "excess_loss": loss,
        "excess_loss_p": loss_p,
        "dev_accuracy": float(base_dev.correct.mean()),
        "dev_gap": gap,
        "dev_gap_p": gap_p,
    }


def preferred(log_probabilities: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the class of each item whose log-probability is furthest above its mean over the reference items [items].

    An untrained model prefers one label word for every item. Without subtracting the mean, that preference would hide
    what the model knows.

    Args:
        log_probabilities: log-probabilities of the items [items, classes].
        reference: log-probabilities of the items over which the mean is taken [items, classes].
    """
    return (log_probabilities - reference.mean(axis=0)).argmax(axis=1)


@dataclasses.dataclass(frozen=True)
class Beyond:
    """How much a model prefers each class beyond what composition explains [items, classes]."""

    test: np.ndarray
    other_strand: np.ndarray
    dev: np.ndarray


def beyond_composition(questions: Questions, answers: Answers) -> Beyond:
    """Return a model's preferences less what composition explains of them.

    What is subtracted is `composition_preference`, a function of the sequence that is fitted to the dev items. Of the
    rest the square root is taken, with its sign, so that a few extreme scores do not decide.
    """
    names = [field.name for field in dataclasses.fields(Beyond)]
    scores = {name: _centred(getattr(answers, name), axis=1) for name in names}
    if len(questions.dev) >= FEWEST:
        preference = composition_preference(questions.composition.dev, scores["dev"])
        scores = {name: scores[name] - preference.predict(getattr(questions.composition, name)) for name in names}
    return Beyond(**{name: _root(_centred(part, axis=0)) for name, part in scores.items()})


def _centred(scores: np.ndarray, axis: int) -> np.ndarray:
    return scores - scores.mean(axis=axis, keepdims=True)


def _root(scores: np.ndarray) -> np.ndarray:
    """Return square roots with the sign of each score; a score below 1e-6 is rounding."""
    scores = np.round(scores, _DECIMALS)
    return np.sign(scores) * np.sqrt(np.abs(scores))


def _label_p_values(questions: Questions, beyond: Beyond) -> dict[str, float]:
    """Return the p-values of the association with what composition does not explain of the labels."""
    test = label_permutation.associations((beyond.test, beyond.other_strand), questions.residuals, questions.orders)
    dev = label_permutation.associations((beyond.dev,), questions.dev_residuals, questions.dev_orders)
    return {
        "labels_p": label_permutation.upper_p(test[:, 0]),
        "labels_with_dev_p": label_permutation.upper_p(test[:, 0] + dev[:, 0]),
        "other_strand_p": label_permutation.upper_p(test[:, 1]),
    }


def _hard_accuracy(questions: Questions, scores: np.ndarray) -> float | None:
    """Return the mean over classes of the accuracy on the items that k-mers predict wrongly; None without any."""
    truth = questions.truth
    hard = questions.kmers.test != truth
    right = scores.argmax(axis=1) == truth
    shares = [right[hard & (truth == label)].mean() for label in np.unique(truth[hard])]
    return float(np.mean(shares)) if shares else None


def permuted_words_mcc(predictions: Predictions, classes: int) -> float | None:
    """Return the highest MCC with the label words in another order, over all other orders or 200 random ones.

    A model that separates the classes but learnt them under other words reaches a high MCC with another order. The
    result is None if all items are of one class.
    """
    orders = label_permutation.word_orders(classes)
    return _highest(Predictions(predictions.truth, order[predictions.predicted]).mcc for order in orders)


def _highest(values: Iterable[float | None]) -> float | None:
    found = list(values)
    return None if None in found else max(found)


def contamination_signs(found: Contamination) -> list[Sign]:
    """Return the names of the signs that the other values raise."""
    above_chance = found.mcc_within_gc_p <= LEVEL / TESTS
    told_apart = found.permuted_words_within_gc_p <= LEVEL / TESTS
    checks = {
        # What composition does not explain of the labels cannot be known without having been told,
        "knows_the_labels": min(found.labels_p, found.labels_with_dev_p) <= LEVEL / TESTS,
        "knows_the_other_strand": found.other_strand_p <= LEVEL / TESTS,
        # a model that has never seen a task is not as good as a classifier that was trained on it,
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
