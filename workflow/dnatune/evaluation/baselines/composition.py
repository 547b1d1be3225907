"""Baselines that see what a sequence is made of and not where: class shares, GC content, k-mers."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from dnatune.data.records import Split
from dnatune.data.sequences import gc_content

_LONGEST_KMER = 5
#: Weight of the squared coefficients relative to the mean log-loss: the default of scikit-learn's `SGDClassifier`.
_KMER_PENALTY = 1e-4


def majority(train: Split, _: Split) -> Callable[[Sequence[str]], np.ndarray]:
    """Answer every item by the class shares of training."""
    counts = np.bincount(train.labels)
    shares = counts[counts > 0] / counts.sum()
    return lambda sequences: np.tile(shares, (len(sequences), 1))


def gc(train: Split, _: Split) -> Callable[[Sequence[str]], np.ndarray]:
    """Fit a logistic regression on GC content."""

    def shares(sequences: Sequence[str]) -> np.ndarray:
        return np.array([[gc_content(sequence)] for sequence in sequences])

    model = LogisticRegression().fit(shares(train.sequences), train.labels)
    return lambda sequences: model.predict_proba(shares(sequences))


def kmers(train: Split, _: Split) -> Callable[[Sequence[str]], np.ndarray]:
    """Fit a logistic regression on frequencies of k-mers."""
    return KmerClassifier(train).probabilities


class KmerClassifier:
    """Logistic regression on the frequencies of all 1- to 5-mers, which ignores their positions.

    A feature is the share of a k-mer among all words of its length in a sequence, so that sequences of different
    lengths are comparable and the words of each length sum to 1. The objective is the mean log-loss plus half the sum
    of squared coefficients × 1e-4, so that the penalty has the same weight in splits of every size. It is minimised to
    convergence, so the result does not depend on a number of iterations. No choice was made on test data.

    Scaling and penalty matter: on prom_core_all MCC is .545; with 20 times the penalty it is .45, with 1/50 of the
    penalty .57, and with counts in rows scaled to length 1 .59. This is a control of fixed strength, not the best that
    k-mers can do.
    """

    def __init__(self, train: Split):
        """Fit to a split with at least two classes."""
        self.counter = CountVectorizer(
            analyzer="char", ngram_range=(1, _LONGEST_KMER), lowercase=False, dtype=np.float64
        ).fit(train.sequences)
        self.lengths = np.array([len(word) for word in self.counter.get_feature_names_out()])
        strength = 1 / (_KMER_PENALTY * len(train))
        model = LogisticRegression(C=strength, max_iter=10_000)
        self.model = model.fit(self._frequencies(train.sequences), train.labels)

    def probabilities(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the probability of each class of the training split, in ascending order [n, classes]."""
        return self.model.predict_proba(self._frequencies(sequences))

    def _frequencies(self, sequences: Sequence[str]) -> sparse.csr_matrix:
        counts = self.counter.transform(sequences).tocoo()
        sizes = np.array([len(sequence) for sequence in sequences])
        counts.data /= sizes[counts.row] - self.lengths[counts.col] + 1
        return counts.tocsr()
