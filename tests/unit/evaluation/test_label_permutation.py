"""Permutation tests within strata: p-values against exact tests and against tests written another way."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from dnatune.evaluation import label_permutation
from dnatune.evaluation.contamination import permuted_words_mcc
from dnatune.evaluation.contrasts import Predictions


def predictions(seed, items=200, classes=2, right=0.6):
    generator = np.random.default_rng(seed)
    truth = generator.integers(classes, size=items)
    other = generator.integers(classes, size=items)
    return Predictions(truth, np.where(generator.random(items) < right, truth, other))


def tables_of(found, classes=2, permutations=label_permutation.PERMUTATIONS):
    """Permuted tables with all items in one stratum."""
    orders = label_permutation.orders_within(np.zeros(len(found.truth), int), permutations)
    return label_permutation.permuted_tables(found.predicted, found.truth, classes, orders)


def test_items_of_equal_value_stay_together_and_no_stratum_is_small():
    generator = np.random.default_rng(0)
    values = generator.binomial(70, 0.6, 600) / 70
    strata = label_permutation.strata_of(values)
    assert np.bincount(strata).min() >= 10
    for value in np.unique(values):
        assert len(set(strata[values == value])) == 1
    # A stratum is a range of values, and a content that is frequent enough has one of its own.
    assert (np.diff(strata[np.argsort(values, kind="stable")]) >= 0).all()
    assert len(set(values[strata == strata[values == 42 / 70][0]])) == 1
    assert label_permutation.strata_of([0.5, 0.1, 0.9]).tolist() == [0, 0, 0]


def test_orders_permute_each_stratum_uniformly():
    strata = np.array([1, 0, 1, 0, 1])
    orders = label_permutation.orders_within(strata, 6_000)
    assert (np.sort(orders, axis=1) == np.arange(5)).all()
    assert (strata[orders] == strata).all()
    # 2! × 3! orders, 500 each on average, standard deviation 21.
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 12 and abs(counts - 500).max() < 100


@pytest.mark.parametrize("right", [0.0, 0.1, 0.2])
def test_the_chance_of_an_mcc_is_that_of_fisher_s_exact_test(right):
    found = predictions(5, right=right)
    table = reference.confusion_matrix(found.truth, found.predicted)
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    # 9,999 permutations: standard error 0.005 at the most.
    assert label_permutation.correct_p(tables_of(found)) == pytest.approx(expected, abs=0.02)


def test_constant_answers_are_chance():
    found = Predictions(np.array([0, 1] * 50), np.zeros(100, int))
    assert label_permutation.correct_p(tables_of(found)) == 1
    many = Predictions(np.array([0, 1, 2] * 30), np.zeros(90, int))
    assert label_permutation.permuted_words_p(tables_of(many, 3)) == 1


def test_an_association_has_the_chance_of_the_exact_permutations():
    generator = np.random.default_rng(3)
    strata = np.repeat([0, 1], 4)
    scores, half = generator.normal(size=(8, 2)), generator.normal(size=8)
    residuals = np.column_stack([half, -half])
    orders = label_permutation.orders_within(strata, 20_000)
    sums = label_permutation.associations((scores, -scores), residuals, orders)
    assert sums[0] == pytest.approx([(scores * residuals).sum(), -(scores * residuals).sum()])
    exact = [
        (scores * residuals[[*first, *(4 + n for n in second)]]).sum()
        for first in itertools.permutations(range(4))
        for second in itertools.permutations(range(4))
    ]
    expected = np.mean(np.array(exact) >= sums[0, 0] - 1e-9)
    # 20,000 permutations: standard error .0035 at the most.
    assert 0.1 < expected < 0.9
    assert label_permutation.upper_p(sums[:, 0]) == pytest.approx(expected, abs=0.012)
    assert label_permutation.upper_p(np.zeros(100)) == 1


def test_other_orders_of_the_words_are_tried_all():
    found = predictions(1, classes=3)
    others = [
        reference.matthews_corrcoef(found.truth, np.array(order)[found.predicted])
        for order in itertools.permutations(range(3))
        if order != (0, 1, 2)
    ]
    assert permuted_words_mcc(found, 3) == pytest.approx(max(others))
    # Of nine words only some orders are tried.
    many = predictions(1, classes=9)
    assert -1 <= permuted_words_mcc(many, 9) < many.mcc


@pytest.mark.parametrize("right", [0.0, 0.1, 0.2])
def test_the_chance_of_an_inverted_mcc_is_that_of_the_other_tail(right):
    found = predictions(5, right=right)
    inverted = tables_of(Predictions(found.truth, 1 - found.predicted))
    # The same predictions seen from the other tail, over the same permutations.
    assert label_permutation.permuted_words_p(inverted) == label_permutation.correct_p(tables_of(found))


def test_the_best_of_several_orders_is_compared_with_the_best_of_as_many():
    found = predictions(4, items=60, classes=3, right=0.1)
    orders = label_permutation.orders_within(np.zeros(60, int), 199)
    observed = permuted_words_mcc(found, 3)
    # Equal tables may differ in their last bits.
    reached = sum(
        permuted_words_mcc(Predictions(found.truth[order], found.predicted), 3) >= observed - 1e-12 for order in orders
    )
    assert 0.05 < label_permutation.permuted_words_p(tables_of(found, 3, 199)) == (reached + 1) / 200 < 0.95
    turned = Predictions(found.truth, (found.truth + 1) % 3)
    assert label_permutation.permuted_words_p(tables_of(turned, 3, 199)) == 1 / 200
