"""Logistic regression whose penalty is chosen by its loss on the dev split."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from dnatune.data.records import Split

#: Weights of half the sum of squared coefficients relative to the mean log-loss, strongest first. They are relative to
#: the mean, so that a penalty weighs the same in splits of every size.
PENALTIES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
_MOST_ITERATIONS = 1_000

#: The features of n sequences, a row each [n, features], float32.
Matrix = np.ndarray | sparse.csr_array
#: Takes n sequences and returns the probability of each class of training, in ascending order [n, classes].
Probabilities = Callable[[Sequence[str]], np.ndarray]


def fit(train: Matrix, train_labels: Sequence[int], dev: Matrix, dev_labels: Sequence[int]) -> LogisticRegression:
    """Return the model of the penalty with the least mean log-loss on dev.

    Penalties are tried from the strongest on, each from the coefficients of the one before, until the loss no longer
    falls: along a path of penalties it has one minimum, and the weakest penalties take longest. Dev items of a class
    that training lacks are left out.
    """
    truth = np.asarray(dev_labels)
    known = np.isin(truth, np.unique(train_labels))
    model = LogisticRegression(max_iter=_MOST_ITERATIONS, warm_start=True)
    best, least = None, np.inf
    for penalty in PENALTIES:
        model.set_params(C=1 / (penalty * len(train_labels))).fit(train, train_labels)
        # Without a dev item of a known class nothing speaks for one of the penalties.
        loss = (
            log_loss(truth[known], model.predict_proba(dev[known]), labels=model.classes_) if known.any() else penalty
        )
        if best is not None and loss >= least:
            break
        best, least = copy.deepcopy(model), loss
    return best


def classifier(features: Callable[[Sequence[str]], Matrix], train: Split, dev: Split) -> Probabilities:
    """Fit a logistic regression on features of the sequences."""
    model = fit(features(train.sequences), train.labels, features(dev.sequences), dev.labels)
    return lambda sequences: model.predict_proba(features(sequences)).astype(np.float64)
