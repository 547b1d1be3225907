"""Tests of two trained models, and p-values adjusted for their number."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from dnatune.inference.reasons import has_nan


@dataclasses.dataclass(frozen=True)
class McNemar:
    """McNemar's test of two classifiers on the same items.

    Attributes:
        only_a: number of items that only the first predicts correctly; None if there is no test.
        only_b: number of items that only the second predicts correctly; None if there is no test.
        p_value: exact two-sided p-value; 1 if both counts are 0; None if there is no test.
        reason: why there is no test; None if there is one.
    """

    only_a: int | None
    only_b: int | None
    p_value: float | None
    reason: str | None = None


def mcnemar_exact(predicted_a: np.ndarray, predicted_b: np.ndarray, truth: np.ndarray) -> McNemar:
    """Return the exact McNemar test of two classifiers, one seed each, on the same items.

    The test is about these two models, not about the methods: another seed gives another model.

    Args:
        predicted_a: class labels [items].
        predicted_b: class labels of the other classifier [items].
        truth: class labels [items].
    """
    a, b, labels = (np.asarray(array) for array in (predicted_a, predicted_b, truth))
    if not (a.ndim == 1 and a.shape == b.shape == labels.shape and len(a)):
        return McNemar(
            None, None, None, f"labels of shape {a.shape}, {b.shape} and {labels.shape} are not one per test item"
        )
    if any(has_nan(array) for array in (a, b, labels)):
        return McNemar(None, None, None, "a label is not a number")
    only_a = int(((a == labels) & (b != labels)).sum())
    only_b = int(((b == labels) & (a != labels)).sum())
    p_value = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p_value))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p-values adjusted for their number (Holm 1979, Scand J Stat 6:65).

    None and NaN stand for tests that were not made: they give None and do not count.
    """
    adjusted: list[float | None] = [None] * len(p_values)
    made = sorted((p, place) for place, p in enumerate(p_values) if p is not None and not math.isnan(p))
    highest = 0.0
    for rank, (p, place) in enumerate(made):
        highest = max(highest, min(1.0, (len(made) - rank) * p))
        adjusted[place] = highest
    return adjusted
