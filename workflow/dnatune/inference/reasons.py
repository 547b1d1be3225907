"""Reasons why data allow no statement, in words; the functions return None if a statement is possible."""

import numpy as np

from dnatune.errors import ConfigurationError

#: Fewest seeds for an interval. With two seeds, t is 12.7 and one lucky pair decides.
FEWEST_SEEDS = 3


#: Fewest independent test items of the rarest class for a test; docs/statistics.md shows how it was chosen.
FEWEST_ITEMS = 15

#: What is said of two methods of which no run tells items apart.
ALL_CONSTANT = "every run of both gives one answer to all items"


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


def refuse_items(number: int, words: str) -> str | None:
    """Return why the independent test items of the rarest class are too few for a test.

    Args:
        number: of them.
        words: which they are.
    """
    if number >= FEWEST_ITEMS:
        return None
    items = f"{number} independent test item{'' if number == 1 else 's'}"
    return f"{items} {words}: too few for a test, which needs {FEWEST_ITEMS}"


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
        reason = same_value(len(values))
    return reason


def same_value(seeds: int) -> str:
    """Return the reason why equal values have no interval."""
    return f"all {seeds} seeds give the same value, so their spread cannot be estimated"


def refuse_predictions(predictions: np.ndarray, truth: np.ndarray, metric: str, of_labels: bool) -> str | None:
    """Return why predictions of some runs cannot be scored, judged by shapes, types and classes.

    Args:
        predictions, truth, metric: as `measure` takes them.
        of_labels: whether the metric looks at the predicted class only.
    """
    if predictions.ndim not in (2, 3) or truth.ndim != 1:
        return f"predictions of shape {predictions.shape} are not [seeds, items] or [seeds, items, classes]"
    if not len(predictions):
        return "there are no runs"
    if predictions.shape[1] != len(truth):
        return f"predictions of shape {predictions.shape} do not fit {len(truth)} test items"
    if any(array.dtype.kind not in "biuf" or has_nan(array) for array in (predictions, truth)):
        return "a prediction or a label is not a number"
    if predictions.ndim == 3 and (predictions.shape[2] < 2 or not np.isfinite(predictions.max(axis=2)).all()):
        return "an item has no class with a finite log-probability, or only one class"
    if len(np.unique(truth)) < 2:
        return "the test items are all of one class"
    if of_labels:
        whole = predictions.ndim == 3 or not (predictions % 1 != 0).any()
        return None if whole else f"{metric} needs class labels, not scores"
    if predictions.ndim == 2 and metric != "auroc":
        return f"{metric} needs log-probabilities"
    return _refuse_classes(truth, metric, predictions.shape[2] if predictions.ndim == 3 else 2)


def _refuse_classes(truth: np.ndarray, metric: str, classes: int) -> str | None:
    """Return why AUROC or log loss is not defined for items of these classes."""
    if not np.isin(truth, range(classes)).all():
        return f"{metric} needs classes from 0 to {classes - 1}"
    if metric == "auroc" and np.bincount(truth.astype(int), minlength=classes).min() < 2:
        return "auroc needs at least two test items of each class"
    return None


def refuse_shapes(first: tuple[int, ...], second: tuple[int, ...]) -> str | None:
    """Return why two methods cannot be paired, from their numbers of runs and items."""
    if first[0] != second[0]:
        return _unpaired(first[0], second[0])
    return None if first == second else f"predictions of shape {first} and {second} are not of the same items"


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
