"""Metrics and the influence of each test item on them: the derivative of a metric by the weight of an item.

The influence of the items of a run sums to 0, and its square, summed over items and divided by their number squared, is
the variance of the metric over samples of items.
"""

import numpy as np
from scipy import stats


def mcc(labels: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return R_K [seeds] (Gorodkin 2004, Comput Biol Chem 28:367) and its influence [seeds, items].

    A run that gives one answer to all items has the value 0 on any items, so its influence is 0.

    Args:
        labels: predicted classes, from 0 [seeds, items].
        truth: true classes, from 0 [items].
        classes: number of classes.
    """
    joint, cells = _joint(labels, truth, classes)
    predicted, true = joint.sum(axis=2), joint.sum(axis=1)
    right = np.trace(joint, axis1=1, axis2=2)
    chance = (predicted * true).sum(axis=1)
    square_predicted, square_true = (predicted**2).sum(axis=1), (true**2).sum(axis=1)
    rest_predicted, rest_true = 1 - square_predicted, 1 - square_true
    scale = np.sqrt(rest_predicted * rest_true)
    defined = scale > 0
    scale, rest_predicted = np.where(defined, scale, 1), np.where(defined, rest_predicted, 1)
    values = np.where(defined, (right - chance) / scale, 0)

    def spread(array: np.ndarray) -> np.ndarray:
        return array[:, None, None]

    agreement = np.eye(classes) - spread(right)
    expected = true[:, :, None] + predicted[:, None, :] - 2 * spread(chance)
    of_predicted = (predicted - square_predicted[:, None])[:, :, None] / spread(rest_predicted)
    of_true = (true - square_true[:, None])[:, None, :] / spread(rest_true)
    table = (agreement - expected) / spread(scale) + spread(values) * (of_predicted + of_true)
    return values, _look_up(table * spread(defined), cells)


def f1_macro(labels: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean F1 of the classes that occur in the truth [seeds] and its influence; arguments as `mcc`."""
    joint, cells = _joint(labels, truth, classes)
    occur = np.flatnonzero(joint[0].sum(axis=0) > 0)
    right = joint[:, occur, occur]
    either = (joint.sum(axis=2) + joint.sum(axis=1))[:, occur]
    scores = 2 * right / either
    is_predicted, is_true = np.eye(classes)[:, None, occur], np.eye(classes)[None, :, occur]
    slope = (2 * is_predicted * is_true - scores[:, None, None] * (is_predicted + is_true)) / either[:, None, None]
    return scores.mean(axis=1), _look_up(slope.mean(axis=3), cells)


def _joint(labels: np.ndarray, truth: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of (predicted, true) [seeds, classes, classes] and the cell of each item [seeds, items]."""
    cells = labels * classes + truth
    seeds, size = len(labels), classes**2
    counts = np.bincount((cells + size * np.arange(seeds)[:, None]).ravel(), minlength=seeds * size)
    return counts.reshape(seeds, classes, classes) / len(truth), cells


def _look_up(table: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table.reshape(len(table), -1), cells, axis=1)


def auroc(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUROC [seeds] and its influence [seeds, items], from the placements of DeLong et al. 1988.

    Placements come from ranks as in Sun & Xu 2014, IEEE Signal Process Lett 21:1389.

    Args:
        scores: [seeds, items].
        positive: whether an item is of class 1 [items].
    """
    above, below = scores[:, positive], scores[:, ~positive]
    ranks = stats.rankdata(scores, axis=1)
    placements = np.empty(scores.shape)
    placements[:, positive] = (ranks[:, positive] - stats.rankdata(above, axis=1)) / below.shape[1]
    placements[:, ~positive] = 1 - (ranks[:, ~positive] - stats.rankdata(below, axis=1)) / above.shape[1]
    values = placements[:, positive].mean(axis=1)
    share = np.where(positive, positive.mean(), 1 - positive.mean())
    return values, (placements - values[:, None]) / share


def log_loss(log_probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean -log p of the true classes [seeds], given that the answer is a class, and its influence.

    Args:
        log_probabilities: natural logarithms [seeds, items, classes], which sum to one.
        truth: true classes, from 0 [items].
    """
    losses = -np.take_along_axis(log_probabilities, truth[None, :, None], axis=2)[:, :, 0]
    values = losses.mean(axis=1)
    return values, losses - values[:, None]
