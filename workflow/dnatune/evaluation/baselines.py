"""Classifiers without a language model: what composition alone achieves, and the ceiling where it is known."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from dnatune.data.records import Split
from dnatune.data.sequences import gc_content
from dnatune.errors import ConfigurationError

_LONGEST_KMER = 5
#: Weight of the squared coefficients against the mean log-loss; scikit-learn's default of `SGDClassifier`.
_KMER_PENALTY = 1e-4


def log_probabilities(
    baseline: str,
    train: Split,
    test: Sequence[str],
    classes: int,
    simulated: dict[str, Any] | None = None,
) -> np.ndarray:
    """Fit a baseline on the training split and score the test split.

    Args:
        baseline: a name of `CLASSIFIERS`, or `bayes`.
        train: the training split.
        test: test sequences.
        classes: number of classes; one that the training split lacks gets probability 0 (a floor of 1e-12).
        simulated: the generator's settings, for `bayes`.

    Returns:
        Natural logarithms [test, classes].

    Raises:
        ConfigurationError: there is no such baseline.
    """
    if baseline == "bayes":
        from dnatune.data.simulation import SimulationSettings, bayes_posterior

        probabilities = bayes_posterior(test, SimulationSettings.from_mapping(simulated or {}))
        return np.log(np.clip(probabilities, 1e-12, 1))
    if baseline not in CLASSIFIERS:
        raise ConfigurationError(
            f"unknown baseline '{baseline}'", where="evaluation.baselines", fix=f"name one of: {', '.join(CLASSIFIERS)}"
        )
    probabilities = np.zeros((len(test), classes))
    seen = sorted(set(train.labels))
    classifier = CLASSIFIERS["majority" if len(seen) == 1 else baseline]
    probabilities[:, seen] = classifier(train, test)
    return np.log(np.clip(probabilities, 1e-12, 1))


def _majority(train: Split, test: Sequence[str]) -> np.ndarray:
    counts = np.bincount(train.labels)
    return np.tile(counts[counts > 0] / counts.sum(), (len(test), 1))


def _gc(train: Split, test: Sequence[str]) -> np.ndarray:
    shares, asked = (np.array([[gc_content(sequence)] for sequence in part]) for part in (train.sequences, test))
    return LogisticRegression().fit(shares, train.labels).predict_proba(asked)


def _kmers(train: Split, test: Sequence[str]) -> np.ndarray:
    return KmerClassifier(train).probabilities(test)


#: The baselines that are fitted, by name: from a training split and n test sequences to the probability of each class
#: that training has, in ascending order [n, classes].
CLASSIFIERS: dict[str, Callable[[Split, Sequence[str]], np.ndarray]] = {
    "majority": _majority,
    "gc": _gc,
    "kmers": _kmers,
}


class KmerClassifier:
    """Logistic regression on the frequencies of all 1- to 5-mers: what composition says, whatever the place.

    A feature is the share of a sequence's words of one length that are that word, so that sequences of other lengths
    can be compared and the words of each length sum to one. The objective is the mean log-loss plus half the squared
    coefficients times 1e-4, so that the penalty weighs the same in splits of every size, and it is minimised to its
    end: nothing is left to a number of iterations, and no choice was made on test data.

    Scaling and penalty matter: on prom_core_all MCC is .545, with twenty times the penalty .45, with a fiftieth of it
    .57, and counts in rows scaled to length 1 reach .59. This is a control of fixed strength, not the best that k-mers
    can do.
    """

    def __init__(self, train: Split):
        """Fit to a split of at least two classes."""
        self.counter = CountVectorizer(
            analyzer="char", ngram_range=(1, _LONGEST_KMER), lowercase=False, dtype=np.float64
        ).fit(train.sequences)
        self.lengths = np.array([len(word) for word in self.counter.get_feature_names_out()])
        strength = 1 / (_KMER_PENALTY * len(train))
        model = LogisticRegression(C=strength, max_iter=10_000)
        self.model = model.fit(self._frequencies(train.sequences), train.labels)

    def probabilities(self, sequences: Sequence[str]) -> np.ndarray:
        """Return the probability of each class that training has, in ascending order [n, classes]."""
        return self.model.predict_proba(self._frequencies(sequences))

    def _frequencies(self, sequences: Sequence[str]) -> sparse.csr_matrix:
        counts = self.counter.transform(sequences).tocoo()
        sizes = np.array([len(sequence) for sequence in sequences])
        counts.data /= sizes[counts.row] - self.lengths[counts.col] + 1
        return counts.tocsr()
