"""Classifiers without a language model: what composition alone achieves, and the ceiling where it is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

_LONGEST_KMER = 5


def log_probabilities(
    baseline: str,
    train: Sequence[str],
    labels: Sequence[int],
    test: Sequence[str],
    classes: int,
    simulated: dict[str, Any] | None = None,
) -> np.ndarray:
    """Fit a baseline on the training split and score the test split.

    Args:
        baseline: `majority`, `gc`, `kmers` or `bayes`.
        train, labels: training sequences and their class indices.
        test: test sequences.
        classes: number of classes; one that the training split lacks gets probability 0 (a floor of 1e-12).
        simulated: the generator's settings, for `bayes`.

    Returns:
        Natural logarithms [test, classes].
    """
    if baseline == "bayes":
        from dnatune.simulate import SimulationSettings, bayes_posterior

        probabilities = bayes_posterior(test, SimulationSettings.from_mapping(simulated or {}))
        return np.log(np.clip(probabilities, 1e-12, 1))
    probabilities = np.zeros((len(test), classes))
    seen = sorted(set(labels))
    if baseline == "majority" or len(seen) == 1:
        counts = np.bincount(labels, minlength=classes)
        probabilities[:] = counts / counts.sum()
    elif baseline == "gc":
        model = LogisticRegression().fit(gc_content(train), labels)
        probabilities[:, seen] = model.predict_proba(gc_content(test))
    else:
        counter = CountVectorizer(analyzer="char", ngram_range=(1, _LONGEST_KMER), lowercase=False, dtype=np.float64)
        model = make_pipeline(counter, MaxAbsScaler(), LogisticRegression(C=0.1, max_iter=1000)).fit(train, labels)
        probabilities[:, seen] = model.predict_proba(test)
    return np.log(np.clip(probabilities, 1e-12, 1))


def gc_content(sequences: Sequence[str]) -> np.ndarray:
    """Return the share of G and C in each sequence [n, 1]."""
    return np.array([[(s.count("G") + s.count("C")) / len(s)] for s in sequences])
