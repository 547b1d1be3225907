"""Whether a merged model answers as the trained one, base + adapter, whose scores count."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from dnatune.contracts import Nats, Record
from dnatune.errors import ModelError
from dnatune.evaluation.metrics import Metrics
from dnatune.model.storage import Storage

#: Metrics of the merged model that stand in merge.json.
_METRICS = ("accuracy", "mcc", "f1_macro", "auroc")
#: Most nats by which a label's log-probabilities may differ if nothing but the order of sums in fp32 does. A fault of
#: the merged model makes it some nats.
_ROUNDING = 5e-3


class Merge(Record):
    """merge.json: how far the merged model agrees with the trained one on the test items.

    metrics.json and predictions.tsv beside it are of the trained model, base + adapter.
    """

    status: Literal["completed", "diverged"]
    """`diverged` for a run without a model; all but `items` is then `null`."""
    precision: Literal["fp32", "bf16", "fp16"] | None
    """Number format in which both models were scored: that of training, or `fp32` if the device does not support it."""
    storage: Storage | None
    """storage.json of the merged model."""
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

    @property
    def sentence(self) -> str:
        """Return how far a merged model agrees, in words."""
        said = f"{self.labels_changed} of {self.items} answers differ from those of base + adapter"
        if self.largest_difference is None:
            return said
        return f"{said}, and log-probabilities by at most {self.largest_difference:.2g} nats"


def compare(
    precision: str,
    storage: Storage,
    folder: Path,
    trained: Sequence[int | None],
    merged: Sequence[int | None],
    scores: tuple[np.ndarray, np.ndarray] | None,
    metrics: Metrics,
) -> Merge:
    """Return merge.json of a completed run.

    Args:
        precision: number format of both models' scoring.
        storage: storage.json of the merged model.
        folder: of the merged model, for a message.
        trained: classes that the trained model predicts [items]; None stands for text that is no label.
        merged: classes that the merged model predicts [items].
        scores: natural logarithms [items, classes] of the trained and of the merged model; None if text was generated.
        metrics: of the merged model.

    Raises:
        ModelError: nothing was rounded to another format than fp32, and the two differ all the same.
    """
    difference = None if scores is None else float(np.abs(scores[0] - scores[1]).max())
    if difference is not None and precision == storage.dtype == "fp32" and not difference <= _ROUNDING:
        raise ModelError(
            f"the merged model does not answer as base + adapter does: the log-probability of a label differs by "
            f"{difference:.3g}, and both are in fp32",
            where=str(folder),
            fix="delete the folder; the workflow merges again",
        )
    return Merge(
        status="completed",
        precision=precision,
        storage=storage,
        items=len(trained),
        labels_changed=sum(before != after for before, after in zip(trained, merged, strict=True)),
        largest_difference=difference,
        **{name: metrics.score(name) for name in _METRICS},
    )


def diverged() -> Merge:
    """Return merge.json of a diverged run, which has no model."""
    return Merge(**{**dict.fromkeys(Merge.model_fields), "status": "diverged", "items": 0})
