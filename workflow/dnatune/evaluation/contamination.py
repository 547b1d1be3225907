"""Whether a base model has seen a task before: what it answers without training, and what that can come from.

A base model that was trained on a test set makes every optimizer look good. Nothing here proves that it was; each sign
has another explanation, and docs/contamination.md names it.
"""

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from dnatune.data.records import Split
from dnatune.errors import DataError
from dnatune.evaluation import baselines, metrics
from dnatune.files import read_json

#: The keys of contamination.json.
KEYS = (
    "model",
    "task",
    "items",
    "mcc",
    "mcc_p",
    "control_mcc",
    "permuted_words_mcc",
    "permuted_words_p",
    "accuracy",
    "changed_accuracy",
    "excess_loss",
    "excess_loss_p",
    "dev_items",
    "dev_accuracy",
    "dev_gap",
    "dev_gap_p",
    "manifest_items",
    "in_manifest",
    "signs",
)
#: What a sign must reach: a chance of this much at most, and for a loss or a gap this share of the items.
LEVEL, LEAST = 0.01, 0.05
#: Share of the bases that a changed item has changed.
CHANGED = 0.05
_PERMUTATIONS = 9_999
#: Of fewer items than this neither split tells what a mean is.
_FEWEST = 30
_MOST_WORD_ORDERS = 200
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a classifier says of a set of items.

    Attributes:
        truth: class indices [items].
        predicted: class indices [items].
    """

    truth: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Return 1 for a right answer and 0 for a wrong one [items]."""
        return (self.truth == self.predicted).astype(float)

    @property
    def mcc(self) -> float | None:
        """Return Matthews' correlation; None where the items are all of one class."""
        classes = int(max(self.truth.max(), self.predicted.max())) + 1
        return metrics.from_predictions(self.truth.tolist(), self.predicted.tolist(), classes)["mcc"]


def examine(
    train: Split,
    dev: Split,
    test: Split,
    classes: int,
    items: int,
    score: Callable[[Split], np.ndarray],
) -> dict[str, Any]:
    """Return what a base model's answers show: contamination.json but for names, manifest and signs.

    Args:
        train, dev, test: the splits. The training split is the control's, which no base model may have seen.
        classes: number of the task's classes.
        items: most test items, and dev items, that are looked at, drawn at random.
        score: returns the base model's log-probability of each label [examples, labels].
    """
    generator = np.random.default_rng(0)
    test, dev = (_sample(split, items, generator) for split in (test, dev))
    other = dataclasses.replace(test, sequences=[changed(sequence, generator) for sequence in test.sequences])
    truth, dev_truth = np.array(test.labels), np.array(dev.labels)
    scores, other_scores, dev_scores = map(score, (test, other, dev))
    base = Answers(truth, preferred(scores, scores))
    base_other = Answers(truth, preferred(other_scores, scores))
    base_dev = Answers(dev_truth, preferred(dev_scores, scores))
    control, control_other = _control("kmers", train, truth, test, other)
    (composition,) = _control("gc", train, truth, test)
    (control_dev,) = _control("kmers", train, dev_truth, dev)
    loss, loss_p = excess_loss((base, base_other), (control, control_other))
    gap, gap_p = dev_gap((base, base_dev), (control, control_dev))
    return {
        "items": len(test),
        "mcc": base.mcc,
        "mcc_p": permutation_p(base),
        "control_mcc": _highest([control.mcc, composition.mcc]),
        "permuted_words_mcc": permuted_words_mcc(base, classes),
        "permuted_words_p": permuted_words_p(base, classes),
        "accuracy": float(base.correct.mean()),
        "changed_accuracy": float(base_other.correct.mean()),
        "excess_loss": loss,
        "excess_loss_p": loss_p,
        "dev_items": len(dev),
        "dev_accuracy": float(base_dev.correct.mean()),
        "dev_gap": gap,
        "dev_gap_p": gap_p,
    }


def _sample(split: Split, most: int, generator: np.random.Generator) -> Split:
    if len(split) <= most:
        return split
    return split.subset(sorted(generator.choice(len(split), most, replace=False)))


def _control(name: str, train: Split, truth: np.ndarray, *parts: Split) -> list[Answers]:
    """Return the answers of a baseline that was fitted to the training split, to each part with the same truth."""
    together = [sequence for part in parts for sequence in part.sequences]
    classes = int(max(max(train.labels), truth.max())) + 1
    scores = baselines.log_probabilities(name, train, together, classes)
    return [Answers(truth, part) for part in np.split(scores.argmax(axis=1), len(parts))]


def preferred(log_probabilities: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the class of each item that gains most over its mean over the reference items [items].

    An untrained model likes one word better whatever the item; its answers are compared with its own average, or that
    preference would hide what it knows.

    Args:
        log_probabilities: of the items [items, classes].
        reference: of the items that the mean is taken over [items, classes].
    """
    return (log_probabilities - reference.mean(axis=0)).argmax(axis=1)


def changed(sequence: str, generator: np.random.Generator) -> str:
    """Return a sequence with 5 % of its bases, one at least, replaced by others at random places."""
    bases = list(sequence)
    for place in generator.choice(len(bases), max(1, round(CHANGED * len(bases))), replace=False):
        bases[place] = generator.choice([base for base in "ACGT" if base != bases[place]])
    return "".join(bases)


def permutation_p(answers: Answers, seed: int = 0) -> float:
    """Return the one-sided p-value of an MCC above 0: the labels are handed out anew 9,999 times.

    With both margins fixed MCC grows with the number of right answers, which is therefore what is compared.
    """
    generator = np.random.default_rng(seed)
    right = answers.correct.sum()
    labels = answers.truth.copy()
    reached = 0
    for _ in range(_PERMUTATIONS):
        generator.shuffle(labels)
        reached += (labels == answers.predicted).sum() >= right
    return (reached + 1) / (_PERMUTATIONS + 1)


def permuted_words_mcc(answers: Answers, classes: int, seed: int = 0) -> float | None:
    """Return the highest MCC when the label words stand for other classes: all orders of them, or 200 at random.

    A model that tells the classes apart and was never told which word is which does as well with another order. None
    where the items are all of one class.
    """
    orders = _word_orders(classes, seed)
    return _highest([Answers(answers.truth, order[answers.predicted]).mcc for order in orders])


def permuted_words_p(answers: Answers, classes: int, seed: int = 0) -> float:
    """Return the one-sided p-value of `permuted_words_mcc`: the labels are handed out anew 9,999 times.

    Each time the best of the same orders counts, so that the choice among them is paid for.
    """
    generator, orders = np.random.default_rng(seed), _word_orders(classes, seed)
    labels, places = answers.truth.copy(), np.arange(classes)
    owned, guessed = (np.bincount(part, minlength=classes) for part in (answers.truth, answers.predicted))
    # What chance gives to each order: MCC is right answers less this, over what neither order nor labels change.
    chance = (owned[orders] * guessed).sum(axis=1)

    def best() -> int:
        table = np.bincount(labels * classes + answers.predicted, minlength=classes**2).reshape(classes, classes)
        return int((len(labels) * table[orders, places].sum(axis=1) - chance).max())

    observed, reached = best(), 0
    for _ in range(_PERMUTATIONS):
        generator.shuffle(labels)
        reached += best() >= observed
    return (reached + 1) / (_PERMUTATIONS + 1)


def _word_orders(classes: int, seed: int) -> np.ndarray:
    """Return which class each word stands for, in orders other than the true one [orders, classes]."""
    if math.factorial(classes) - 1 <= _MOST_WORD_ORDERS:
        return np.array(list(itertools.permutations(range(classes)))[1:])
    generator = np.random.default_rng(seed)
    drawn = {tuple(generator.permutation(classes).tolist()) for _ in range(_MOST_WORD_ORDERS)}
    return np.array(sorted(drawn - {tuple(range(classes))}))


def _highest(values: Sequence[float | None]) -> float | None:
    return None if None in values else max(values)


def excess_loss(base: tuple[Answers, Answers], control: tuple[Answers, Answers]) -> tuple[float, float]:
    """Return how much more accuracy a model loses than a control when items are changed, and its one-sided p-value.

    This is the comparison with neighbours of Mattern et al. 2023 (arXiv 2305.18462), with a control for what the change
    destroys. The p-value is that of a t-test over items, each of which is scored four times.

    Args:
        base: the model's answers to the items and to the changed items.
        control: those of a classifier that has not seen the items.
    """
    losses = [before.correct - after.correct for before, after in (base, control)]
    return _mean_and_p(losses[0] - losses[1])


def dev_gap(base: tuple[Answers, Answers], control: tuple[Answers, Answers]) -> tuple[float, float]:
    """Return how much more a model gains on a control on test items than on dev items, and its one-sided p-value.

    The control takes out that one split is harder than the other, which is so in some tasks of GUE. The p-value is that
    of Welch's t-test over items, and 1 where a split has fewer than 30.

    Args:
        base: the model's answers to the test items and to the dev items.
        control: those of a classifier that has seen neither.
    """
    test, dev = (one.correct - other.correct for one, other in zip(base, control, strict=True))
    difference = float(test.mean() - dev.mean())
    if min(len(test), len(dev)) < _FEWEST:
        return difference, 1.0
    p = stats.ttest_ind(test, dev, equal_var=False, alternative="greater").pvalue
    # Without any spread in both there is no t; they then differ as a whole or not at all.
    return difference, float(p) if np.isfinite(p) else float(difference <= 0)


def _mean_and_p(values: np.ndarray) -> tuple[float, float]:
    mean = float(values.mean())
    if not values.any() or np.ptp(values) == 0:
        return mean, float(mean <= 0)
    return mean, float(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)


def read_manifest(path: Path) -> frozenset[str]:
    """Read a manifest of earlier training data: a SHA-256 a line, of a sequence in upper case without blanks.

    Empty lines and lines that begin with # are passed over.

    Raises:
        DataError: a line is something else, or the file is missing or holds no digest.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise DataError("file not found", where=str(path), fix="check 'contamination.manifest'") from None
    except UnicodeDecodeError:
        raise DataError("not a text", where=str(path), fix="give a SHA-256 a line, in hexadecimal") from None
    found = set()
    for number, line in enumerate(lines, start=1):
        word = line.strip().lower()
        if not word or word.startswith("#"):
            continue
        if not _DIGEST.fullmatch(word):
            raise DataError(
                f"{line.strip()[:80]!r} is no SHA-256",
                where=f"{path}, line {number}",
                fix="give 64 hexadecimal digits a line, of a sequence in upper case without blanks",
            )
        found.add(word)
    if not found:
        raise DataError("the manifest holds no digest", where=str(path), fix="give a SHA-256 a line, or no manifest")
    return frozenset(found)


def digest_of(sequence: str) -> str:
    """Return the SHA-256 of a sequence in upper case without blanks, as a manifest has it."""
    return hashlib.sha256("".join(sequence.split()).upper().encode()).hexdigest()


def in_manifest(sequences: Sequence[str], manifest: frozenset[str]) -> list[int]:
    """Return the indices of the sequences that a manifest has."""
    return [number for number, sequence in enumerate(sequences) if digest_of(sequence) in manifest]


def contamination_signs(found: Mapping[str, Any]) -> list[str]:
    """Return the signs of contamination, as words.

    Args:
        found: contamination.json without them.
    """
    above_chance = found["mcc_p"] <= LEVEL
    told_apart = found["permuted_words_p"] <= LEVEL
    checks = {
        # Nobody who was never shown a task answers it as a classifier does that was trained on it.
        "as_good_as_trained": above_chance and found["mcc"] >= found["control_mcc"],
        # Nor does anybody tell its classes apart as well under other names.
        "as_good_in_another_order": told_apart and found["permuted_words_mcc"] >= found["control_mcc"],
        "knows_the_items": above_chance and found["excess_loss_p"] <= LEVEL and found["excess_loss"] >= LEAST,
        "better_than_on_dev": above_chance and found["dev_gap_p"] <= LEVEL and found["dev_gap"] >= LEAST,
        "in_manifest": bool(found["in_manifest"]),
    }
    return [sign for sign, raised in checks.items() if raised]


def read(path: Path) -> dict[str, Any]:
    """Read contamination.json.

    Raises:
        DataError: it lacks a key.
    """
    found = read_json(path)
    missing = [key for key in KEYS if key not in found]
    if missing:
        raise DataError(f"{', '.join(missing)} missing", where=str(path), fix="delete it; it is made again")
    return found


def flagged(found: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return (model, task) of every contamination.json with a sign."""
    return {(one["model"], one["task"]) for one in found if one["signs"]}
