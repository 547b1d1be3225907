"""Probabilities of classes from the log-probabilities that a model gives their labels."""

import numpy as np
from scipy import special


def class_probabilities(log_probabilities: np.ndarray) -> np.ndarray:
    """Return the probability of each class, given that the answer is one of them [..., classes].

    Args:
        log_probabilities: natural logarithms [..., classes], which need not sum to one.
    """
    return np.exp(special.log_softmax(log_probabilities, axis=-1))


def log_ratios(log_probabilities: np.ndarray) -> np.ndarray:
    """Return log p - log(1 - p) of each class, given that the answer is one of them [..., classes].

    It ranks items where a probability has already been rounded to 1: that of two classes a difference of 40 nats apart.

    Args:
        log_probabilities: natural logarithms [..., classes], which need not sum to one.
    """
    classes = log_probabilities.shape[-1]
    others = np.stack(
        [special.logsumexp(np.delete(log_probabilities, one, axis=-1), axis=-1) for one in range(classes)], axis=-1
    )
    return log_probabilities - others
