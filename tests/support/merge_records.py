"""merge.json of a run that completed."""

from dnatune.evaluation.agreement import Merge
from dnatune.model.storage import Storage


def storage_record(update_kept: float = 1.0, dtype: str = "bf16") -> Storage:
    """Return storage.json of a merged model that keeps a share of the update."""
    return Storage(
        dtype=dtype,
        update_kept=update_kept,
        least_kept=update_kept / 2,
        least_kept_tensor="model.layers.0.self_attn.q_proj.weight",
        update_error=0.1,
        checked_tokens=300,
        largest_difference=2e-6,
    )


def merge_record(items: int = 600, update_kept: float = 1.0) -> Merge:
    """Return merge.json of a run of so many test items."""
    return Merge(
        status="completed",
        precision="fp32",
        storage=storage_record(update_kept),
        items=items,
        labels_changed=round((1 - update_kept) * items),
        largest_difference=0.01,
        accuracy=0.8,
        mcc=0.6,
        f1_macro=0.8,
        auroc=0.9,
    )
