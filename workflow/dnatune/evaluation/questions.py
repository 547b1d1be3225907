"""What a base model is asked to find out whether it has seen a test split, and what is known without it.

The items, the controls and the permutations depend on the data alone, so any number of models can be asked the same.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from dnatune.data.records import Split
from dnatune.data.sequences import BASES, base_codes, gc_content, reverse_complement, word_numbers
from dnatune.evaluation import baselines, label_permutation

#: Share of the bases that are replaced in a changed item.
CHANGED = 0.05
#: With fewer dev items nothing is fitted to them, and the gap between the splits is not tested.
FEWEST = 30
_LONGEST_WORD = 3
_PENALTIES = np.logspace(0, 5, 6)


@dataclasses.dataclass(frozen=True)
class Control:
    """The predictions of k-mers, fitted to the training split: class indices [items]."""

    test: np.ndarray
    changed: np.ndarray
    dev: np.ndarray


@dataclasses.dataclass(frozen=True)
class Composition:
    """What `composition_of` returns for the items."""

    test: np.ndarray
    other_strand: np.ndarray
    dev: np.ndarray


@dataclasses.dataclass(frozen=True)
class Questions:
    """The items that a base model is asked, and what is known about them without it.

    Attributes:
        test: test items, each distinct sequence once.
        changed: the same items with 5 % of their bases replaced.
        other_strand: their reverse complements.
        dev: dev items.
        classes: number of the task's classes.
        composition: what the items are made of.
        kmers: what k-mers predict.
        gc: what GC content, fitted to the training split, predicts for the test items [items].
        residuals, dev_residuals: 1 for an item's class and 0 for the others, less the probability from composition
            [items, classes]; 0 if the items are all of one class.
        orders, dev_orders: permutations of the items among items of about equal GC content [permutations, items].
    """

    test: Split
    changed: Split
    other_strand: Split
    dev: Split
    classes: int
    composition: Composition
    kmers: Control
    gc: np.ndarray
    residuals: np.ndarray
    orders: np.ndarray
    dev_residuals: np.ndarray
    dev_orders: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """Return the classes of the test items [items]."""
        return np.array(self.test.labels)


def prepare(train: Split, dev: Split, test: Split, classes: int, items: int) -> Questions:
    """Draw the items and fit the controls.

    Args:
        train, dev, test: the splits. The controls are fitted to the training split; what it leaves open is chosen, and
            their probabilities are calibrated, on the dev split.
        classes: number of the task's classes.
        items: maximum number of test items, and of dev items, drawn at random.
    """
    generator = np.random.default_rng(0)
    test, asked_dev = (_sample(split, items, generator) for split in (test, dev))
    other = dataclasses.replace(test, sequences=[changed(sequence, generator) for sequence in test.sequences])
    reverse = dataclasses.replace(test, sequences=[reverse_complement(sequence) for sequence in test.sequences])
    kmers = baselines.fit("kmers", train, dev, classes)
    expected = _calibrated(kmers, dev, classes)
    return Questions(
        test=test,
        changed=other,
        other_strand=reverse,
        dev=asked_dev,
        classes=classes,
        composition=Composition(*(composition_of(split.sequences) for split in (test, reverse, asked_dev))),
        kmers=Control(*(kmers(split.sequences).argmax(axis=1) for split in (test, other, asked_dev))),
        gc=baselines.fit("gc", train, dev, classes)(test.sequences).argmax(axis=1),
        residuals=_residuals(test, expected, classes),
        orders=_orders(test, seed=0),
        dev_residuals=_residuals(asked_dev, expected, classes),
        dev_orders=_orders(asked_dev, seed=1),
    )


def _sample(split: Split, most: int, generator: np.random.Generator) -> Split:
    """Return at most so many items, each distinct sequence once: copies would count one answer several times."""
    first = list({sequence: row for row, sequence in reversed(list(enumerate(split.sequences)))}.values())
    if len(first) > most:
        first = generator.choice(first, most, replace=False).tolist()
    return split.subset(sorted(first))


def changed(sequence: str, generator: np.random.Generator) -> str:
    """Return a sequence in which 5 % of the bases, at least one, are replaced by others at random positions."""
    bases = list(sequence)
    for place in generator.choice(len(bases), max(1, round(CHANGED * len(bases))), replace=False):
        bases[place] = generator.choice([base for base in BASES if base != bases[place]])
    return "".join(bases)


def _calibrated(kmers: baselines.Scorer, dev: Split, classes: int) -> Callable[[Split], np.ndarray]:
    """Return a function that returns the probability of each class from composition [items, classes].

    It is a logistic regression of the dev labels on the log-odds of k-mers and on GC content. K-mers alone are too sure
    of themselves, so a model that prefers what they reject would seem to know their errors.
    """
    if len(dev) < FEWEST or len(set(dev.labels)) < classes:
        return lambda split: np.exp(kmers(split.sequences))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))

    def odds_and_gc(split: Split) -> np.ndarray:
        scores, contents = kmers(split.sequences), _gc_contents(split)
        return np.column_stack([scores[:, 1:] - scores[:, :1], contents, contents**2])

    model.fit(odds_and_gc(dev), dev.labels)
    return lambda split: model.predict_proba(odds_and_gc(split))


def _residuals(split: Split, expected: Callable[[Split], np.ndarray], classes: int) -> np.ndarray:
    """Return what composition does not explain of the labels [items, classes]; 0 if there is one class."""
    if len(set(split.labels)) == 1:
        return np.zeros((len(split), classes))
    return np.eye(classes)[split.labels] - expected(split)


def _orders(split: Split, seed: int) -> np.ndarray:
    return label_permutation.orders_within(label_permutation.strata_of(_gc_contents(split)), seed=seed)


def _gc_contents(split: Split) -> np.ndarray:
    return np.array([gc_content(sequence) for sequence in split.sequences])


def composition_preference(composition: np.ndarray, scores: np.ndarray) -> Pipeline:
    """Return a regression of a model's scores of the dev items on what these are made of.

    Its penalty is chosen by leave-one-out cross-validation. Memorised labels of test items cannot enter it.

    Args:
        composition: what `composition_of` returns for the items.
        scores: the model's scores [items, classes].
    """
    return make_pipeline(StandardScaler(), RidgeCV(alphas=_PENALTIES)).fit(composition, scores)


def composition_of(sequences: Sequence[str]) -> np.ndarray:
    """Return the shares of all words of one to three bases, and the square of GC content [sequences, 85]."""
    return np.array([_composition(sequence) for sequence in sequences])


def _composition(sequence: str) -> np.ndarray:
    codes, shares = base_codes(sequence), []
    for length in range(1, _LONGEST_WORD + 1):
        numbers, known = word_numbers(codes, length)
        shares.append(np.bincount(numbers[known], minlength=4**length) / max(1, known.sum()))
    return np.concatenate([*shares, [gc_content(sequence) ** 2]])
