"""training.jsonl of an interrupted run: the steps of the checkpoint are kept, later lines are written again."""

import json
import math

import pytest

from dnatune.training.plan import Plan, Progress
from dnatune.training.step_log import StepLog, whole_steps


def lines(count):
    return [json.dumps({"step": step, "loss": 1.0 / step}) for step in range(1, count + 1)]


def test_a_line_that_was_being_written_is_dropped_with_those_behind_the_checkpoint(tmp_path):
    path = tmp_path / "training.jsonl"
    path.write_text("\n".join([*lines(3), '{"step": 4, "lo']))
    assert StepLog(path, 2).losses == [1.0, 0.5]
    assert path.read_text().splitlines() == lines(2)


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        ([], 0),
        (lines(3), 3),
        ([*lines(1), '{"step"'], 1),
        ([*lines(2), "[]"], 2),
        (lines(3)[1:], 0),
        ([*lines(2), *lines(2)], 2),
        ([*lines(2), '{"step": 3}'], 2),
    ],
)
def test_a_log_counts_up_to_the_first_step_that_is_missing_or_damaged(tmp_path, content, steps):
    path = tmp_path / "training.jsonl"
    path.write_text("\n".join(content))
    assert whole_steps(path) == steps


def test_bytes_that_are_no_text_end_a_log(tmp_path):
    path = tmp_path / "training.jsonl"
    path.write_bytes("\n".join(lines(2)).encode() + b"\n\xff\x00\n")
    assert whole_steps(path) == 2
    assert whole_steps(tmp_path / "absent.jsonl") == 0


def test_a_number_that_is_not_finite_is_written_as_null(tmp_path):
    path = tmp_path / "training.jsonl"
    StepLog(path, 0).write(Progress(step=1), Plan(1, 1, 1), {"loss": math.inf, "gradient_norm": math.nan})
    row = json.loads(path.read_text())
    assert (row["step"], row["loss"], row["gradient_norm"]) == (1, None, None)
    assert math.isnan(StepLog(path, 1).losses[0])
