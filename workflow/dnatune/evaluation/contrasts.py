"""How a model's predictions for test items compare with those for changed items and for dev items."""

import dataclasses

import numpy as np
from scipy import stats

from dnatune.evaluation import metrics
from dnatune.evaluation.questions import FEWEST


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of a classifier for a set of items.

    Attributes:
        truth: true class indices [items].
        predicted: predicted class indices [items].
    """

    truth: np.ndarray
    predicted: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        """Return 1 for a correct prediction and 0 for a wrong one [items]."""
        return (self.truth == self.predicted).astype(float)

    @property
    def mcc(self) -> float | None:
        """Return Matthews' correlation; None if all items are of one class."""
        classes = int(max(self.truth.max(), self.predicted.max())) + 1
        return metrics.from_predictions(self.truth.tolist(), self.predicted.tolist(), classes).mcc


def excess_loss(base: tuple[Predictions, Predictions], control: tuple[Predictions, Predictions]) -> tuple[float, float]:
    """Return how much more accuracy a model loses than a control if items are changed, and the one-sided p-value.

    This is the comparison with neighbours of Mattern et al. 2023 (arXiv 2305.18462); the control accounts for the
    information that the change destroys. The p-value is that of a t-test over items, each of which is scored four
    times.

    Args:
        base: the model's predictions for the items and for the changed items.
        control: the same predictions of a classifier that has not seen the items.
    """
    losses = [before.correct - after.correct for before, after in (base, control)]
    return _mean_and_p(losses[0] - losses[1])


def dev_gap(base: tuple[Predictions, Predictions], control: tuple[Predictions, Predictions]) -> tuple[float, float]:
    """Return how much larger a model's advantage over a control is on test than on dev, and the one-sided p-value.

    The control accounts for splits of different difficulty, which occur in some tasks of GUE. The p-value is that of
    Welch's t-test over items, or 1 if a split has fewer than 30 items.

    Args:
        base: the model's predictions for the test items and for the dev items.
        control: the same predictions of a classifier that has seen neither split.
    """
    test, dev = (one.correct - other.correct for one, other in zip(base, control, strict=True))
    difference = float(test.mean() - dev.mean())
    if min(len(test), len(dev)) < FEWEST:
        return difference, 1.0
    p = stats.ttest_ind(test, dev, equal_var=False, alternative="greater").pvalue
    # Without any spread in both splits t is not defined; then p is 0 if the difference is positive, otherwise 1.
    return difference, float(p) if np.isfinite(p) else float(difference <= 0)


def _mean_and_p(values: np.ndarray) -> tuple[float, float]:
    mean = float(values.mean())
    if not values.any() or np.ptp(values) == 0:
        return mean, float(mean <= 0)
    return mean, float(stats.ttest_1samp(values, 0.0, alternative="greater").pvalue)
