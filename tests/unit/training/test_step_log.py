"""training.jsonl of an interrupted run: the steps of the checkpoint are kept, later lines are written again."""

import json

import pytest

from dnatune.errors import RunError
from dnatune.training.step_log import StepLog


def lines(count):
    return [json.dumps({"step": step, "loss": 1.0 / step}) for step in range(1, count + 1)]


def test_a_line_that_was_being_written_is_dropped_with_those_behind_the_checkpoint(tmp_path):
    path = tmp_path / "training.jsonl"
    path.write_text("\n".join([*lines(3), '{"step": 4, "lo']))
    assert StepLog(path, 2).losses == [1.0, 0.5]
    assert path.read_text().splitlines() == lines(2)


@pytest.mark.parametrize("kept", [[], [*lines(1), '{"step"'], lines(1), lines(3)[1:]])
def test_a_step_that_is_missing_is_said(tmp_path, kept):
    path = tmp_path / "training.jsonl"
    path.write_text("\n".join(kept))
    with pytest.raises(RunError, match=r"the 2 steps.*"):
        StepLog(path, 2)
