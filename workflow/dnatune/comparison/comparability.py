"""Whether runs were made on equal terms, from what run.json says of each."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dnatune.training.record import Run


@dataclasses.dataclass(frozen=True)
class Flag:
    """A word in the column `flags` of the tables.

    Attributes:
        badge: what the page shows beside a pair or a model.
        meaning: what it means, as the end of a sentence.
        remedy: what to do.
    """

    badge: str
    meaning: str
    remedy: str


_UNEQUAL = "not on equal terms"
#: By the word: what makes runs unequal, in the order of the tables.
UNEQUAL_TERMS: Mapping[str, Flag] = {
    "unequal_budget": Flag(
        _UNEQUAL,
        "the numbers of gradient evaluations differ by a step or more",
        "set `budget: {gradient_evaluations: …}`, which is the same cost for methods with any number of stages",
    ),
    "unequal_batch": Flag(
        _UNEQUAL, "the global batch sizes differ", "take the overrides of `global_batch_size` out of `optimizers`"
    ),
    "unequal_training": Flag(
        _UNEQUAL,
        "schedule, warm-up, clipping, DeepSpeed's settings, the loss that counts as divergence, the number of dev"
        " examples, the number of steps that a run kept the best of, or the precision in use differ",
        "take the overrides out of `optimizers`; set `training.precision` if the runs used different GPUs; with"
        " `keep: best_dev` give a method of several gradients per step a smaller `evaluation_steps`",
    ),
    "unequal_inputs": Flag(
        _UNEQUAL, "the base models or the training data differ", "prepare the data once, then train all runs on them"
    ),
    "mixed_code": Flag(
        _UNEQUAL, "the runs were trained by different versions of dnatune", "train all runs with one version"
    ),
    "unequal_search": Flag(
        _UNEQUAL,
        "the numbers of learning-rate trials differ",
        "search all rates with one configuration of `tuning`",
    ),
}
#: All flags.
FLAGS: Mapping[str, Flag] = UNEQUAL_TERMS | {
    "diverged": Flag(
        "diverged",
        "the loss grew without bound; the run is listed in the tables without a score",
        "use a lower learning rate",
    ),
    "class_shares_only": Flag(
        "knows nothing beyond class shares",
        "in the trials the chosen rate's dev loss was not below that of a model that knows only each class's share",
        "train longer, or search other learning rates",
    ),
    "one_class": Flag(
        "one class",
        "runs give one answer to all test items, which is an MCC of 0 whatever their AUROC",
        "train longer, or search for other learning rates",
    ),
    "seen_before": Flag(
        "seen before; trained on the task",
        "the base model has probably seen the task's test items, or does as well as a trained classifier and has"
        " probably been trained on the task, perhaps including its test items",
        "use another base model or another task",
    ),
}
#: Keys of `training` that decide a result: what is learnt, when a run counts as diverged, on what dev scores are taken.
#: The others say how it is computed and what is kept.
_TRAINING = ("schedule", "warmup_ratio", "max_grad_norm", "clip", "deepspeed", "divergence_loss", "dev_examples")


def unequal(records: Sequence[Run], completed: Sequence[Run]) -> list[str]:
    """Return the flags that some runs raise together.

    Args:
        records: run.json of each run.
        completed: those that completed: a diverged run stopped early for another reason.
    """
    checks = {
        "unequal_budget": not _same_budget(completed),
        "unequal_batch": _differ([record.global_batch_size for record in records]),
        "unequal_training": _differ([_training(record) for record in records]) or _differ(_chosen_from(records)),
        "unequal_inputs": _differ([record.inputs for record in records]),
        "mixed_code": _differ([record.software.code for record in records]),
    }
    return [flag for flag, raised in checks.items() if raised]


def _same_budget(records: Sequence[Run]) -> bool:
    """Return whether gradient evaluations differ by less than a step, because several stages may leave a rest.

    What fp16's overflows repeat is not part of a budget, but it costs: with it they may differ by a hundredth more.
    """
    once = [record.gradient_evaluations - record.repeated_evaluations for record in records]
    step = max((count // record.steps for count, record in zip(once, records, strict=True) if record.steps), default=1)
    whole = [record.gradient_evaluations for record in records]
    return _range(once) < step and _range(whole) < step + min(whole, default=0) / 100


def _range(counts: Sequence[int]) -> int:
    return max(counts, default=0) - min(counts, default=0)


def _training(record: Run) -> list[Any]:
    chosen = record.settings["training"]
    # Precision and compiled code are as they were found: `auto` depends on the GPU that a job gets.
    return [record.precision, record.compiled, *(chosen.get(key) for key in _TRAINING)]


def _chosen_from(records: Sequence[Run]) -> list[int]:
    """Return, of runs that keep their best step by dev loss, how many steps each chose from as planned.

    A run that keeps the last step has chosen nothing; the page names who does what.
    """
    choosing = [record for record in records if record.keeps_best and not record.diverged]
    return [math.ceil(record.steps / record.settings["training"]["evaluation_steps"]) for record in choosing]


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)
