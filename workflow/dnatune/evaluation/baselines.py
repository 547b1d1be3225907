"""Classifiers without a language model: what composition alone achieves, and the Bayes optimum if it is known."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from dnatune.data.records import Split
from dnatune.data.sequences import gc_content
from dnatune.errors import ConfigurationError
from dnatune.settings.simulation import SimulationSettings

_LONGEST_KMER = 5
#: Weight of the squared coefficients relative to the mean log-loss: the default of scikit-learn's `SGDClassifier`.
_KMER_PENALTY = 1e-4


def log_probabilities(
    baseline: str,
    train: Split,
    test: Sequence[str],
    classes: int,
    simulated: SimulationSettings | None = None,
) -> np.ndarray:
    """Fit a baseline on the training split and score the test split.

    Args:
        baseline: a name of `CLASSIFIERS`, or `bayes`.
        train: the training split.
        test: test sequences.
        classes: number of classes; a class that the training split lacks gets probability 0, clipped to 1e-12.
        simulated: settings of the simulation, for `bayes`.

    Returns:
        Natural logarithms [test, classes].

    Raises:
        ConfigurationError: the baseline does not exist.
    """
    if baseline == "bayes":
        from dnatune.data.simulation import bayes_posterior

        probabilities = bayes_posterior(test, simulated or SimulationSettings())
        return np.log(np.clip(probabilities, 1e-12, 1))
    if baseline not in CLASSIFIERS:
        raise ConfigurationError(
            f"unknown baseline '{baseline}'",
            where="evaluation.baselines",
            fix=f"choose one of: {', '.join(CLASSIFIERS)}",
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


#: The fitted baselines by name. Each takes a training split and n test sequences and returns the probability of each
#: class of the training split, in ascending order [n, classes].
CLASSIFIERS: dict[str, Callable[[Split, Sequence[str]], np.ndarray]] = {
    "majority": _majority,
    "gc": _gc,
    "kmers": _kmers,
}


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
