"""Metrics of a classifier from its predictions and probabilities; most are computed by scikit-learn.

scikit-learn is imported where it computes: training needs only `from_confusion`, and the import takes 0.8 s of a core,
a tenth of what a run on a CPU takes to start.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pydantic

from dnatune.contracts import Record, Seconds
from dnatune.data.prompts import EncodedExamples
from dnatune.files import sha256_of_file
from dnatune.inference.probabilities import class_probabilities, log_ratios

_BINS = 15


class Metrics(Record):
    """metrics.json: what the predictions of a test split are worth; dev.json says the same of the dev split."""

    status: Literal["completed", "diverged", "not_applicable"]
    """`diverged` for a run without a model, `not_applicable` for a baseline that does not suit the data; every metric
    is then `null`."""
    reason: str | None = None
    """Why a baseline does not apply; `null` for every other status."""
    n: int
    """Items that were scored."""
    accuracy: float | None
    """Share of right answers; text that is no label is wrong."""
    mcc: float | None
    """Matthews correlation coefficient; `null` if the test items are all of one class."""
    f1_macro: float | None
    """F1, mean over the classes that occur."""
    precision_macro: float | None
    """Precision, mean over the classes that occur."""
    recall_macro: float | None
    """Recall, mean over the classes that occur."""
    auroc: float | None
    """Area under the ROC curve, items ranked by log p − log(1 − p): of the last class for two classes, else macro
    one-vs-rest; `null` without probabilities or if a class does not occur."""
    auprc: float | None
    """Area under the precision-recall curve, like `auroc`."""
    brier: float | None
    """Multi-class Brier score; `null` without probabilities, like `ece` and `off_label_mass`."""
    ece: float | None
    """Expected calibration error over 15 equal-width bins of confidence."""
    confusion: list[list[int]] | None
    """Counts; a row per true class, a column per predicted class."""
    off_label_mass: float | None
    """Mean probability that is left for text that is no label."""
    unparsable: int | None
    """Generated texts that are no label; 0 if no text was generated."""
    seconds: Seconds
    """Wall time of the scoring."""
    predictions: str | None = None
    """SHA-256 of `predictions.tsv` beside it; `null` if predictions are not kept."""

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> Self:
        always = ("accuracy", "f1_macro", "precision_macro", "recall_macro", "confusion", "unparsable")
        missing = [name for name in always if self.score(name) is None]
        if self.status == "completed" and missing:
            raise ValueError(f"the status is 'completed', and {', '.join(missing)} is null")
        if (self.status == "not_applicable") != (self.reason is not None):
            raise ValueError("'reason' goes with the status 'not_applicable' and with no other")
        return self

    def write_beside(self, predictions: Path, path: Path) -> None:
        """Write the file with the hash of its predictions, by which `compare` finds a change of them."""
        self.model_copy(update={"predictions": sha256_of_file(predictions)}).write(path)

    def score(self, name: str) -> Any:
        """Return a metric by its name."""
        return getattr(self, name)


def diverged() -> Metrics:
    """Return the metrics of a diverged run, which has no model."""
    return _without_scores(status="diverged")


def not_applicable(reason: str) -> Metrics:
    """Return the metrics of a baseline that does not suit a task's data, and why."""
    return _without_scores(status="not_applicable", reason=reason)


def _without_scores(**known: str) -> Metrics:
    return Metrics(**{**dict.fromkeys(Metrics.model_fields), "n": 0, "seconds": 0.0, **known})


def from_predictions(
    labels: Sequence[int], predicted: Sequence[int | None], classes: int, seconds: float = 0.0
) -> Metrics:
    """Return the metrics that need no probabilities; the other metrics are None.

    MCC is None if all labels are of one class, because it is then 0 ÷ 0 and must not be ranked as 0.

    Args:
        labels: true class indices [n].
        predicted: predicted class indices [n]; None stands for generated text that is no label, and counts as wrong.
        classes: number of classes.
        seconds: wall time of the scoring.
    """
    from sklearn import metrics

    truth = np.asarray(labels)
    # Text that is no label counts as an extra class that no item has, so it is wrong in every metric.
    guess = np.array([classes if p is None else p for p in predicted])
    every = list(range(classes))
    # Means are taken over the classes that occur, because a class without items can be neither found nor missed.
    options: dict[str, Any] = {"labels": np.unique(truth), "average": "macro", "zero_division": 0}
    confusion = metrics.confusion_matrix(truth, guess, labels=[*every, classes])[:classes, :classes]
    return Metrics(
        status="completed",
        n=len(truth),
        accuracy=float(metrics.accuracy_score(truth, guess)),
        mcc=float(metrics.matthews_corrcoef(truth, guess)) if len(np.unique(truth)) > 1 else None,
        f1_macro=float(metrics.f1_score(truth, guess, **options)),
        precision_macro=float(metrics.precision_score(truth, guess, **options)),
        recall_macro=float(metrics.recall_score(truth, guess, **options)),
        confusion=confusion.tolist(),
        unparsable=int((guess == classes).sum()),
        seconds=seconds,
        **dict.fromkeys(("auroc", "auprc", "brier", "ece", "off_label_mass")),
    )


def from_confusion(confusion: np.ndarray) -> dict[str, float | None]:
    """Return accuracy, MCC and macro F1 of a confusion matrix [true class, predicted class] of counts.

    They are those of `from_predictions`, up to rounding; MCC, of any number of classes, is that of Gorodkin (2004,
    Comput Biol Chem 28:367).
    """
    counts = np.asarray(confusion, dtype=float)
    items, right, true, guessed = counts.sum(), np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    occurs = true > 0
    spread = (items**2 - true @ true) * (items**2 - guessed @ guessed)
    correlation = (items * right.sum() - true @ guessed) / np.sqrt(spread) if spread else 0.0
    return {
        "accuracy": float(right.sum() / items),
        "mcc": float(correlation) if occurs.sum() > 1 else None,
        "f1_macro": float((2 * right[occurs] / (true + guessed)[occurs]).mean()),
    }


def class_share_loss(examples: EncodedExamples) -> float | None:
    """Return the loss, in nats per label token, of a model that knows only the share of each class among the examples.

    Such a model gives each label word its class's share, and any other text nothing. None if there are no examples or
    all are of one class.
    """
    counts = np.bincount(np.asarray(examples.answers, dtype=int))
    if np.count_nonzero(counts) < 2:
        return None
    tokens = sum(len(examples.answer(index)) for index in range(len(examples)))
    counts = counts[counts > 0]
    return float(-(counts * np.log(counts / counts.sum())).sum() / tokens)


def from_log_probabilities(labels: Sequence[int], log_probabilities: np.ndarray, seconds: float = 0.0) -> Metrics:
    """Return all metrics of a classifier that gives each class a log-probability.

    Args:
        labels: true class indices [n].
        log_probabilities: natural logarithms [n, classes]. The probabilities may sum to less than 1; the rest is the
            off-label mass.
        seconds: wall time of the scoring.

    Ranking metrics are None if the labels lack a class, and MCC is None if all labels are of one class.
    """
    truth = np.asarray(labels)
    classes = log_probabilities.shape[1]
    probabilities = class_probabilities(log_probabilities)
    predicted = log_probabilities.argmax(axis=1)
    one_hot = np.eye(classes)[truth]
    scores = {
        **_ranking(truth, log_probabilities),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "ece": expected_calibration_error(probabilities.max(axis=1), predicted == truth),
        "off_label_mass": float(np.clip(1 - np.exp(log_probabilities).sum(axis=1), 0, 1).mean()),
    }
    return from_predictions(truth.tolist(), predicted.tolist(), classes, seconds).model_copy(update=scores)


def _ranking(truth: np.ndarray, log_probabilities: np.ndarray) -> dict[str, float | None]:
    """Rank items by log-ratios, as `dnatune.inference` does: probabilities that are rounded to 1 are all alike."""
    from sklearn import metrics

    classes = log_probabilities.shape[1]
    if len(np.unique(truth)) < classes:
        return {"auroc": None, "auprc": None}
    ratios = log_ratios(log_probabilities)
    ranked = [(truth == one, ratios[:, one]) for one in ([1] if classes == 2 else range(classes))]
    return {
        "auroc": float(np.mean([metrics.roc_auc_score(*one) for one in ranked])),
        "auprc": float(np.mean([metrics.average_precision_score(*one) for one in ranked])),
    }


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return Σ over 15 equal-width bins of |accuracy - confidence| × share of items (Naeini et al. 2015, AAAI)."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=correct.astype(float) - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(confidence))
