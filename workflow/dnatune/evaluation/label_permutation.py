"""Permutation tests of a model's answers among items of about equal GC content.

A model that has seen no label may still prefer one word for sequences rich in G and C, and GC content is related to the
labels of many tasks. Among items of equal GC content the answers of such a model are independent of the labels, so all
assignments of labels to those items are equally likely.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

PERMUTATIONS = 9_999
#: Items of equal GC content stay together; fewer than this many are joined with those of the next higher content.
_FEWEST_IN_STRATUM = 10
_MOST_WORD_ORDERS = 200
#: Sums of the same terms in another order may differ by this share of their size.
_ROUNDING = 1e-9
#: Permutations that are evaluated at a time.
_CHUNK = 256


def strata_of(values: Sequence[float]) -> np.ndarray:
    """Return for each item the number of its stratum, items of about equal value [items]."""
    values = np.asarray(values)
    order = np.argsort(values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])) + 1, len(values))
    numbers, start, number = np.zeros(len(values), int), 0, 0
    for end in ends:
        numbers[order[start:end]] = number
        if end - start >= _FEWEST_IN_STRATUM:
            start, number = end, number + 1
    # What is left above the last full stratum belongs to it.
    return np.minimum(numbers, max(0, number - 1))


def orders_within(strata: np.ndarray, permutations: int = PERMUTATIONS, seed: int = 0) -> np.ndarray:
    """Return random permutations of the items that leave each in its stratum [permutations, items]."""
    generator = np.random.default_rng(seed)
    places = np.argsort(strata, kind="stable")
    orders = np.empty((permutations, len(strata)), np.min_scalar_type(len(strata)))
    for order in orders:
        # Random numbers below 1 order the items of a stratum at random and leave the strata in place.
        order[places] = np.argsort(strata + generator.random(len(strata)))
    return orders


def upper_p(values: np.ndarray) -> float:
    """Return the one-sided p-value of the first value, which the labels as they are give, among the permuted ones.

    Args:
        values: a statistic of the labels as they are, then of each permutation of them [1 + permutations].
    """
    slack = _ROUNDING * np.abs(values).max()
    return float(((values[1:] >= values[0] - slack).sum() + 1) / len(values))


def associations(scores: Sequence[np.ndarray], residuals: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Return the sums of scores × residuals, for the residuals as they are, then for each permutation of them.

    Args:
        scores: for each test, how much a model prefers each class [items, classes].
        residuals: 1 for an item's class and 0 for the others, less what is expected without the model
            [items, classes]; each row sums to 0.
        orders: permutations of the items [permutations, items].

    Returns:
        Sums [1 + permutations, tests].
    """
    # Because a row of residuals sums to 0, the last class is known from the others.
    free = residuals[:, :-1]
    relative = np.stack([(part[:, :-1] - part[:, -1:]).ravel() for part in scores], axis=1)
    chunks = np.split(orders, range(_CHUNK, len(orders), _CHUNK))
    sums = [free[part].reshape(len(part), -1) @ relative for part in chunks]
    return np.concatenate([free.reshape(1, -1) @ relative, *sums])


def permuted_tables(predicted: np.ndarray, truth: np.ndarray, classes: int, orders: np.ndarray) -> np.ndarray:
    """Return the confusion matrix of the labels as they are, then of each permutation of them.

    Args:
        predicted, truth: class indices [items].
        classes: number of classes.
        orders: permutations of the items [permutations, items].

    Returns:
        Numbers of items [1 + permutations, true class, predicted class].
    """
    labels = truth.astype(np.int16)
    labels = np.concatenate([labels[None], labels[orders]])
    tables = np.empty((len(labels), classes, classes), np.int64)
    for guess in range(classes):
        guessed = labels[:, predicted == guess]
        for label in range(classes):
            tables[:, label, guess] = (guessed == label).sum(axis=1)
    return tables


def correct_p(tables: np.ndarray) -> float:
    """Return the one-sided p-value of the MCC of predictions, from their `permuted_tables`.

    With fixed margins, MCC grows with the number of correct predictions, so these numbers are compared.
    """
    return upper_p(np.trace(tables, axis1=1, axis2=2))


def permuted_words_p(tables: np.ndarray) -> float:
    """Return the one-sided p-value of the highest MCC with the label words in another order.

    For each permutation of the labels the best of the same orders of words counts, which accounts for the choice among
    them. The argument is that of `correct_p`.
    """
    classes = tables.shape[1]
    words = word_orders(classes)
    owned, guessed = tables[0].sum(axis=1), tables[0].sum(axis=0)
    # For each order, MCC is (correct predictions − chance) ÷ a factor that depends on neither order nor labels.
    chance = (owned[words] * guessed).sum(axis=1)
    return upper_p((tables[0].sum() * tables[:, words, np.arange(classes)].sum(axis=-1) - chance).max(axis=1))


def word_orders(classes: int) -> np.ndarray:
    """Return the class that each word stands for in all orders other than the true one, or in 200 random ones.

    Returns:
        Class indices [orders, classes].
    """
    if math.factorial(classes) - 1 <= _MOST_WORD_ORDERS:
        return np.array(list(itertools.permutations(range(classes)))[1:])
    generator = np.random.default_rng(0)
    drawn = {tuple(generator.permutation(classes).tolist()) for _ in range(_MOST_WORD_ORDERS)}
    return np.array(sorted(drawn - {tuple(range(classes))}))
