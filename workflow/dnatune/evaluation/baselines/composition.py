"""Baselines that see what a sequence is made of and not where: class shares, GC content, k-mers."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from dnatune.data.records import Split
from dnatune.data.sequences import base_codes, blocks, gc_content, word_numbers
from dnatune.evaluation.baselines import linear

_LONGEST_KMER = 6


def majority(train: Split, _: Split) -> linear.Probabilities:
    """Answer every item by the class shares of training."""
    counts = np.bincount(train.labels)
    shares = counts[counts > 0] / counts.sum()
    return lambda sequences: np.tile(shares, (len(sequences), 1))


def gc(train: Split, _: Split) -> linear.Probabilities:
    """Fit a logistic regression on GC content."""

    def shares(sequences: Sequence[str]) -> np.ndarray:
        return np.array([[gc_content(sequence)] for sequence in sequences])

    model = LogisticRegression().fit(shares(train.sequences), train.labels)
    return lambda sequences: model.predict_proba(shares(sequences))


def kmers(train: Split, dev: Split) -> linear.Probabilities:
    """Fit a logistic regression on how often each word of 1 to 6 bases occurs, whatever its place."""
    return linear.classifier(kmer_counts, train, dev)


def kmer_counts(sequences: Sequence[str]) -> sparse.csr_array:
    """Return the counts of all words of 1 to 6 bases, each row scaled to length 1 [n, 5460], float32.

    Scaled rows make sequences of different lengths comparable. Words with an unknown base do not count.
    """
    parts = [_counts([sequences[i] for i in block]) for block in blocks(sequences)]
    return normalize(sparse.vstack(parts, format="csr"))


def _counts(sequences: Sequence[str]) -> sparse.csr_array:
    # No word reaches over the N between two sequences.
    codes = base_codes("".join(f"{sequence}N" for sequence in sequences))
    owners = np.repeat(np.arange(len(sequences)), [len(sequence) + 1 for sequence in sequences])
    rows, columns, first = [], [], 0
    for k in range(1, _LONGEST_KMER + 1):
        numbers, known = word_numbers(codes, k)
        rows.append(owners[: len(numbers)][known])
        columns.append(first + numbers[known])
        first += 4**k
    places = np.concatenate(rows), np.concatenate(columns)
    counts = sparse.csr_array((np.ones(len(places[0]), np.float32), places), shape=(len(sequences), first))
    counts.sum_duplicates()
    return counts
