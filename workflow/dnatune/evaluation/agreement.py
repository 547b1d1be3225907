"""Whether a merged model answers as the trained one, base + adapter, whose scores count."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from dnatune.contracts import Nats, Record
from dnatune.evaluation.metrics import Metrics

#: Metrics of the merged model that stand in merge.json.
_METRICS = ("accuracy", "mcc", "f1_macro", "auroc")


class Merge(Record):
    """merge.json: how far the merged model agrees with the trained one on the test items.

    metrics.json and predictions.tsv beside it are of the trained model, base + adapter.
    """

    status: Literal["completed", "diverged"]
    """`diverged` for a run without a model; all but `items` is then `null`."""
    precision: Literal["fp32", "bf16", "fp16"] | None
    """Number format in which both models were scored: that of training, or `fp32` if the device does not support it."""
    items: int
    """Test items that both models answered."""
    labels_changed: int | None
    """Test items to which the merged model gives another label."""
    largest_difference: Nats | None
    """Largest difference of a label's log-probability; `null` if text was generated."""
    accuracy: float | None
    """Accuracy of the merged model; this and the following as in metrics.json."""
    mcc: float | None
    """Matthews correlation coefficient of the merged model."""
    f1_macro: float | None
    """Macro F1 of the merged model."""
    auroc: float | None
    """AUROC of the merged model."""


def compare(
    precision: str,
    trained: Sequence[int | None],
    merged: Sequence[int | None],
    scores: tuple[np.ndarray, np.ndarray] | None,
    metrics: Metrics,
) -> Merge:
    """Return merge.json of a completed run.

    Args:
        precision: number format of both models' scoring.
        trained: classes that the trained model predicts [items]; None stands for text that is no label.
        merged: classes that the merged model predicts [items].
        scores: natural logarithms [items, classes] of the trained and of the merged model; None if text was generated.
        metrics: of the merged model.
    """
    return Merge(
        status="completed",
        precision=precision,
        items=len(trained),
        labels_changed=sum(before != after for before, after in zip(trained, merged, strict=True)),
        largest_difference=None if scores is None else float(np.abs(scores[0] - scores[1]).max()),
        **{name: metrics.score(name) for name in _METRICS},
    )


def diverged() -> Merge:
    """Return merge.json of a diverged run, which has no model."""
    return Merge(**{**dict.fromkeys(Merge.model_fields), "status": "diverged", "items": 0})
