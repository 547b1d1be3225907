"""Tests of two trained models, and p-values adjusted for their number."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from dnatune.inference.reasons import has_nan


@dataclasses.dataclass(frozen=True)
class McNemar:
    """Two classifiers on the same items.

    Attributes:
        only_a: items that only the first gets right; None when refused.
        only_b: items that only the second gets right; None when refused.
        p_value: exact and two-sided; 1 if neither count is above 0; None when refused.
        reason: why there is no test; None when there is.
    """

    only_a: int | None
    only_b: int | None
    p_value: float | None
    reason: str | None = None


def mcnemar_exact(predicted_a: np.ndarray, predicted_b: np.ndarray, truth: np.ndarray) -> McNemar:
    """Return the exact McNemar test of two classifiers, one seed each, on the same items.

    It speaks of these two models, not of the methods: another seed is another model.

    Args:
        predicted_a: class labels [items].
        predicted_b: class labels [items] of the other.
        truth: class labels [items].
    """
    a, b, labels = (np.asarray(array) for array in (predicted_a, predicted_b, truth))
    if not (a.ndim == 1 and a.shape == b.shape == labels.shape and len(a)):
        return McNemar(
            None, None, None, f"labels of shape {a.shape}, {b.shape} and {labels.shape} are not one a test item"
        )
    if any(has_nan(array) for array in (a, b, labels)):
        return McNemar(None, None, None, "a label is not a number")
    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((b == labels) & (a != labels)).sum())
    p_value = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p_value))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values adjusted for their number (Holm 1979, Scand J Stat 6:65).

    None and NaN are tests that were not made: they stay None and do not count.
    """
    adjusted: list[float | None] = [None] * len(p_values)
    made = sorted((p, place) for place, p in enumerate(p_values) if p is not None and not math.isnan(p))
    highest = 0.0
    for rank, (p, place) in enumerate(made):
        highest = max(highest, min(1.0, (len(made) - rank) * p))
        adjusted[place] = highest
    return adjusted
