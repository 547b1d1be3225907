"""Whether runs were made on equal terms, from what run.json says of each."""

from collections.abc import Mapping, Sequence
from typing import Any

#: What raises a flag, in the order of the tables.
FLAGS = ("unequal_budget", "unequal_batch", "unequal_training", "unequal_inputs", "mixed_code")
#: Keys of `training` that decide a result: what is learnt, when a run counts as diverged, on what dev scores are taken.
#: The others say how it is computed and what is kept.
_TRAINING = ("schedule", "warmup_ratio", "max_grad_norm", "deepspeed", "divergence_loss", "dev_examples")


def unequal(records: Sequence[Mapping[str, Any]], completed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the flags that some runs raise together.

    Args:
        records: run.json of each run.
        completed: those that completed: a diverged run stopped early for another reason.
    """
    checks = (
        not _same_budget(completed),
        _differ([record["global_batch_size"] for record in records]),
        _differ([_training(record) for record in records]),
        _differ([record["inputs"] for record in records]),
        _differ([record["software"]["code"] for record in records]),
    )
    return [flag for flag, raised in zip(FLAGS, checks, strict=True) if raised]


def _same_budget(records: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether gradient evaluations differ by less than a step: one of several stages may leave a rest."""
    counts = [record["gradient_evaluations"] for record in records]
    stages = [record["gradient_evaluations"] // record["steps"] for record in records if record["steps"]]
    return max(counts, default=0) - min(counts, default=0) < max(stages, default=1)


def _training(record: Mapping[str, Any]) -> list[Any]:
    chosen = record["settings"]["training"]
    # The precision is the one that was found: `auto` depends on the GPU that a job gets.
    return [record["precision"], *(chosen.get(key) for key in _TRAINING)]


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)
