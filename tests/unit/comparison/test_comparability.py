"""Whether runs are said to be made on equal terms, from their records alone."""

import pytest

from dnatune.comparison import comparability
from dnatune.training.record import Run
from run_records import run_record, software

TRAINING = {
    "schedule": "cosine",
    "warmup_ratio": 0.03,
    "max_grad_norm": 1.0,
    "divergence_loss": 100.0,
    "dev_examples": 128,
    "save_steps": 10,
}


def other(**changes):
    """Return a record that differs in some keys, those of `training` by their own names."""
    training = {**TRAINING, **{key: value for key, value in changes.items() if key not in Run.model_fields}}
    own = {key: value for key, value in changes.items() if key in Run.model_fields}
    return run_record(**{"steps": 94, "gradient_evaluations": 94, "settings": {"training": training}} | own)


RECORD = other()


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, []),
        # Four stages do not divide 94 evaluations: the rest is less than a step.
        ({"steps": 23, "gradient_evaluations": 92}, []),
        ({"steps": 22, "gradient_evaluations": 88}, ["unequal_budget"]),
        ({"gradient_evaluations": 93, "steps": 93}, ["unequal_budget"]),
        # Repeats after fp16 overflows are no budget, but many of them cost.
        ({"gradient_evaluations": 95, "repeated_evaluations": 1}, []),
        ({"gradient_evaluations": 104, "repeated_evaluations": 10}, ["unequal_budget"]),
        ({"steps": 23, "gradient_evaluations": 94, "repeated_evaluations": 2}, []),
        ({"steps": 10, "gradient_evaluations": 94, "repeated_evaluations": 54}, ["unequal_budget"]),
        ({"global_batch_size": 64}, ["unequal_batch"]),
        ({"schedule": "constant"}, ["unequal_training"]),
        ({"max_grad_norm": 0.0}, ["unequal_training"]),
        ({"clip": "stages"}, ["unequal_training"]),
        ({"precision": "bf16"}, ["unequal_training"]),
        ({"deepspeed": {"optimizer": {}}}, ["unequal_training"]),
        # The one is cut where the other goes on; or dev scores are of other items.
        ({"divergence_loss": 50.0}, ["unequal_training"]),
        ({"dev_examples": 512}, ["unequal_training"]),
        ({"save_steps": 20}, []),
        ({"inputs": {"model": "a", "train": "d"}}, ["unequal_inputs"]),
        ({"software": software("d")}, ["mixed_code"]),
    ],
)
def test_what_differs_is_named(changes, flags):
    records = [RECORD, other(**changes)]
    assert comparability.unequal(records, records) == flags


def test_runs_that_keep_their_best_step_choose_from_as_many():
    best = {"keep": "best_dev", "evaluation_steps": 20}
    one, like, fewer = other(**best), other(**best | {"evaluation_steps": 19}), other(**best | {"evaluation_steps": 40})
    assert comparability.unequal([one, like], [one, like]) == []
    assert comparability.unequal([one, fewer], [one, fewer]) == ["unequal_training"]
    # One that keeps its last step differs in what is compared.
    assert comparability.unequal([one, RECORD], [one, RECORD]) == []


def test_a_diverged_run_has_no_budget_to_compare():
    assert comparability.unequal([RECORD, other(gradient_evaluations=3, steps=3)], [RECORD]) == []
