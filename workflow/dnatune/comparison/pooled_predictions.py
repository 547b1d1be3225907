"""What the predictions of a group of runs say: confusion, reliability, ROC."""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from dnatune.comparison.results import FinishedRun, Group
from dnatune.inference.probabilities import class_probabilities, log_ratios


def confusion_of(group: Group) -> np.ndarray:
    """Return the confusion matrix summed over completed seeds [true class, predicted class + 1].

    The last column counts answers that name no class; it is 0 unless answers were decoded freely.
    """
    classes = len(group.completed[0].metrics.confusion)
    total = np.zeros((classes, classes + 1), dtype=int)
    for run in group.completed:
        total[:, :-1] += np.array(run.metrics.confusion, dtype=int)
        missing = run.predictions.loc[run.predictions["predicted"].isna(), "label"]
        total[:, -1] += np.bincount(missing.to_numpy(int), minlength=classes)
    return total


def reliability_of(group: Group, bins: int = 15, fewest: int = 10) -> pd.DataFrame:
    """Return confidence against accuracy over equal-width bins of confidence, seeds pooled.

    Args:
        group: runs of one optimizer.
        bins: number of bins, as in the expected calibration error.
        fewest: bins with fewer items are left out: their accuracy is mostly chance.

    Returns:
        Columns `confidence` and `accuracy` (means of the bin) and `items`; no rows without log-probabilities.
    """
    parts = []
    for run in group.completed:
        found = _log_probabilities(run)
        if found is not None:
            confidence = class_probabilities(found).max(axis=1)
            correct = run.predictions["predicted"] == run.predictions["label"]
            parts.append(pd.DataFrame({"confidence": confidence, "accuracy": correct.astype(float)}))
    if not parts:
        return pd.DataFrame(columns=["confidence", "accuracy", "items"])
    items = pd.concat(parts)
    binned = items.groupby(np.minimum((items["confidence"] * bins).astype(int), bins - 1))
    table = binned.mean().assign(items=binned.size()).reset_index(drop=True)
    return table[table["items"] >= fewest]


def roc_of(group: Group, points: int = 101) -> pd.DataFrame:
    """Return the mean ROC curve over seeds, by vertical averaging (Fawcett 2006, An introduction to ROC analysis, 7.1).

    With two classes the curve is the last class's; with more, the mean of the classes, each against the rest. Items are
    ranked by log-ratios, as for AUROC.

    Args:
        group: runs of one optimizer.
        points: false-positive rates at which the true-positive rates are averaged, evenly from 0 to 1.

    Returns:
        Columns `false_positive_rate` and `true_positive_rate`; no rows without log-probabilities, or where a run has a
        class with no item or with all items.
    """
    grid, curves = np.linspace(0, 1, points), []
    for run in group.completed:
        found = _log_probabilities(run)
        ratios = None if found is None else log_ratios(found)
        truth = run.predictions["label"].to_numpy(int)
        classes = 0 if ratios is None else ratios.shape[1]
        for index in range(1, 2) if classes == 2 else range(classes):
            positive = truth == index
            if positive.all() or not positive.any():
                return pd.DataFrame(columns=["false_positive_rate", "true_positive_rate"])
            false, true, _ = roc_curve(positive, ratios[:, index])
            curve = np.interp(grid, false, true)
            curve[0] = 0.0
            curves.append(curve)
    if not curves:
        return pd.DataFrame(columns=["false_positive_rate", "true_positive_rate"])
    return pd.DataFrame({"false_positive_rate": grid, "true_positive_rate": np.mean(curves, axis=0)})


def has_probabilities(run: FinishedRun) -> bool:
    """Return whether the labels of a run have log-probabilities: not where answers were decoded freely."""
    return any(column.startswith("logp_") for column in run.predictions.columns)


def _log_probabilities(run: FinishedRun) -> np.ndarray | None:
    """Return those of each class of each item [items, classes]; None where answers were decoded freely."""
    columns = [column for column in run.predictions.columns if column.startswith("logp_")]
    if not columns:
        return None
    return run.predictions[columns].to_numpy(float)
