"""Probabilities of classes from the log-probabilities that a model gives their labels."""

import numpy as np
from scipy import special


def class_probabilities(log_probabilities: np.ndarray) -> np.ndarray:
    """Return the probability of each class, given that the answer is one of them [..., classes].

    Args:
        log_probabilities: natural logarithms [..., classes], which need not sum to one.
    """
    return np.exp(special.log_softmax(log_probabilities, axis=-1))
