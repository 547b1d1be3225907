"""Reasons why data allow no statement, in words; the functions return None if a statement is possible."""

import numpy as np

from dnatune.errors import ConfigurationError

#: Fewest seeds for an interval. With two seeds, t is 12.7 and one lucky pair decides.
FEWEST_SEEDS = 3


#: What is said of a run that gives every test item the same prediction.
SAME_PREDICTION = "gives the same prediction for every item, so its variance over items cannot be estimated"


def too_few(seeds: int) -> str:
    """Return the reason why so few seeds have no interval."""
    return f"an interval needs at least {FEWEST_SEEDS} seeds, but there {_are(seeds)}"


def refuse_number(values: np.ndarray) -> str | None:
    """Return why values over seeds are too few or not numbers."""
    if values.ndim != 1:
        return f"one value per seed is needed, not an array of shape {values.shape}"
    if not np.isfinite(values).all():
        return "a value is not a finite number"
    if len(values) < FEWEST_SEEDS:
        return too_few(len(values))
    return None


def refuse_pairs(first: np.ndarray, second: np.ndarray) -> str | None:
    """Return why the values of two methods cannot be paired by seed."""
    if first.shape != second.shape:
        return _unpaired(first.size, second.size)
    return refuse_number(first) or refuse_number(second)


def refuse_values(values: np.ndarray) -> str | None:
    """Return why values over seeds give no interval."""
    reason = refuse_number(values)
    # Equal values can differ in their last bits if they were summed in another order.
    if reason is None and np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        reason = f"all {len(values)} seeds give the same value, so their spread cannot be estimated"
    return reason


def refuse_arrays(a: np.ndarray, b: np.ndarray, truth: np.ndarray, metric: str) -> str | None:
    """Return why predictions cannot be compared, judged by shapes, types and classes."""
    if a.ndim not in (2, 3) or b.ndim != a.ndim or truth.ndim != 1:
        return f"predictions of shape {a.shape} and {b.shape} are not [seeds, items] or [seeds, items, classes]"
    if len(a) != len(b):
        return _unpaired(len(a), len(b))
    if not len(a):
        return "there are no runs"
    if not a.shape[1] == b.shape[1] == len(truth) or a.shape != b.shape:
        return f"predictions of shape {a.shape} and {b.shape} do not fit {len(truth)} test items"
    if any(array.dtype.kind not in "biuf" or has_nan(array) for array in (a, b, truth)):
        return "a prediction or a label is not a number"
    if a.ndim == 3 and (a.shape[2] < 2 or not all(np.isfinite(x.max(axis=2)).all() for x in (a, b))):
        return "an item has no class with a finite log-probability, or only one class"
    if len(np.unique(truth)) < 2:
        return "the test items are all of one class"
    if metric == "auroc" and a.ndim == 3 and a.shape[2] != 2:
        return f"auroc needs two classes, not {a.shape[2]}"
    if metric != "auroc" and a.ndim == 2 and any((array % 1 != 0).any() for array in (a, b)):
        return f"{metric} needs class labels, not scores"
    return None


def refuse_classes(truth: np.ndarray) -> str | None:
    """Return why AUROC is not defined for items of these classes."""
    if not np.isin(truth, (0, 1)).all():
        return "auroc needs two classes, 0 and 1"
    if min((truth == 0).sum(), (truth == 1).sum()) < 2:
        return "auroc needs at least two test items of each class"
    return None


def has_nan(array: np.ndarray) -> bool:
    """Return whether an element is not a number."""
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def check_level(level: float) -> None:
    """Refuse a confidence level that makes no sense.

    Raises:
        ConfigurationError: the level is not between 0.5 and 1.
    """
    # At 0.5 or below, the 1 - 2α interval of a verdict is empty.
    if not 0.5 < level < 1:
        raise ConfigurationError(
            f"a confidence level of {level}", where="level", fix="give 0.95, or another share above 0.5"
        )


def _unpaired(first: int, second: int) -> str:
    return f"{first} runs of one method cannot be paired with {second} runs of the other: compare only common seeds"


def _are(number: int) -> str:
    return {0: "are none", 1: "is 1"}.get(number, f"are {number}")
