"""Baselines reach what others measured with them."""

import numpy as np
import pytest

from dnatune.data.records import read_csv
from dnatune.evaluation import baselines, metrics
from dnatune.evaluation.baselines import composition
from samples import TASK, split_of


def test_real_promoters(shared):
    """Measured elsewhere: 1-5-mer logistic regression .771 / .542 / .851, GC content alone AUROC .725."""
    train = read_csv(shared / "GUE/GUE/prom_core_all/train.csv", TASK)
    test = read_csv(shared / "GUE/GUE/prom_core_all/test.csv", TASK)
    kmers = metrics.from_log_probabilities(test.labels, baselines.fit("kmers", train, train, 2)(test.sequences))
    assert kmers.accuracy == pytest.approx(0.771, abs=0.01)
    assert kmers.mcc == pytest.approx(0.542, abs=0.01)
    assert kmers.auroc == pytest.approx(0.851, abs=0.01)
    gc = metrics.from_log_probabilities(test.labels, baselines.fit("gc", train, train, 2)(test.sequences))
    assert gc.auroc == pytest.approx(0.725, abs=0.01)


def test_kmer_frequencies_are_those_counted_by_hand():
    model = composition.KmerClassifier(split_of([("ACGTACGTN", 0), ("AACCGGTT", 1)]))
    names = model.counter.get_feature_names_out()
    for sequence in ("ACGTA", "AAAACG", "GGT"):
        row = dict(zip(names, model._frequencies([sequence]).toarray()[0], strict=True))
        for word, share in row.items():
            windows = [sequence[i : i + len(word)] for i in range(len(sequence) - len(word) + 1)]
            assert share == pytest.approx(windows.count(word) / len(windows) if windows else 0)


def test_the_kmer_penalty_weighs_the_same_in_a_split_twice_as_large():
    rows = [("ACGTACGTAA", 0), ("AACCGGTTCC", 1), ("ACACACGGTA", 0), ("GGGTTTAACC", 1)] * 5
    four = [sequence for sequence, _ in rows[:4]]
    once, twice = (composition.KmerClassifier(split_of(rows * n)).probabilities(four) for n in (1, 2))
    # The optimum of the same objective; the solver stops at a gradient of 1e-4.
    assert once == pytest.approx(twice, abs=2e-3)
    assert not np.allclose(once, 0.5, atol=0.05)


def test_majority_is_the_frequent_class():
    train = split_of([("A", 2), ("A", 2), ("A", 2), ("A", 0)])
    scores = baselines.fit("majority", train, train, 3)(["C", "G"])
    assert np.exp(scores) == pytest.approx(np.array([[0.25, 0, 0.75]] * 2), abs=1e-9)


@pytest.mark.parametrize("baseline", ["gc", "kmers"])
def test_a_class_that_training_lacks_gets_nothing(baseline):
    train = split_of([("ACGT" * 5, 0), ("AATT" * 5, 2), ("GGCC" * 5, 0), ("AAAA" * 5, 2)])
    scores = baselines.fit(baseline, train, train, 3)(["GGGG" * 5])
    assert np.exp(scores[0, 1]) < 1e-9 and np.exp(scores).sum() == pytest.approx(1)
    assert scores[0].argmax() == 0
