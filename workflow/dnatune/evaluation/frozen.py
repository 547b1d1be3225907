"""Logistic regression on the hidden states of a frozen base model: what it knows before fine-tuning."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from scipy import special

from dnatune.errors import DataError
from dnatune.evaluation.baselines import linear
from dnatune.files import publish_file


@dataclasses.dataclass(frozen=True)
class Probe:
    """A fitted logistic regression.

    Attributes:
        weights: of each feature for each class [classes, features]; a class that training lacks has zeros.
        bias: of each class [classes]; -inf for a class that training lacks.
    """

    weights: np.ndarray
    bias: np.ndarray

    def log_probabilities(self, states: np.ndarray) -> np.ndarray:
        """Return natural logarithms [n, classes], not below that of 1e-12, of features [n, features]."""
        scores = states.astype(np.float64) @ self.weights.T + self.bias
        return np.log(np.clip(special.softmax(scores, axis=1), 1e-12, 1))

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with publish_file(path) as scratch, scratch.open("wb") as stream:
            np.savez(stream, weights=self.weights, bias=self.bias)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote.

        Raises:
            DataError: it is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(stored["weights"], stored["bias"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"not a probe: {error}", where=str(path), fix="delete its folder; the workflow makes it again"
            ) from None


def fit(train: np.ndarray, labels: Sequence[int], dev: np.ndarray, dev_labels: Sequence[int], classes: int) -> Probe:
    """Fit to the hidden states of training, with the penalty that has the least loss on dev.

    Args:
        train, dev: features [n, features]. They are scaled to mean 0 and standard deviation 1 over training.
        labels, dev_labels: class indices [n].
        classes: number of classes.
    """
    mean, scale = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    # A feature that does not vary says nothing.
    scale[scale == 0] = 1
    weights, bias = np.zeros((classes, train.shape[1])), np.full(classes, -np.inf)
    seen = np.unique(labels)
    if len(seen) == 1:
        bias[seen] = 0
        return Probe(weights, bias)
    scaled = [((part - mean) / scale).astype(np.float32) for part in (train, dev)]
    model = linear.fit(scaled[0], labels, scaled[1], dev_labels)
    two = len(seen) == 2
    # Of two classes scikit-learn keeps the weights of the second against the first.
    coefficients = np.concatenate([np.zeros_like(model.coef_), model.coef_]) if two else model.coef_
    intercepts = np.concatenate([np.zeros_like(model.intercept_), model.intercept_]) if two else model.intercept_
    weights[seen] = coefficients / scale
    bias[seen] = intercepts - weights[seen] @ mean
    return Probe(weights, bias)
