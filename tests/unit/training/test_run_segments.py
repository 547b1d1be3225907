"""Each start of a run is on record, also where the process could not say how it ended."""

import datetime
import json

import pytest

from dnatune.training.checkpoints import Found, Saved
from dnatune.training.segments import Segments
from run_records import conditions


@pytest.fixture
def start(tmp_path):
    """A function that returns the segments of a run as a new process finds them."""
    return lambda: Segments(tmp_path, tmp_path / "training.jsonl")


def log_steps(folder, steps):
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(1, steps + 1)]
    (folder / "training.jsonl").write_text("\n".join(lines), "utf-8")


def found(step, *accepted):
    saved = Saved(conditions=conditions(), progress={"step": step}, rows={})
    return Found(f"step-{step:08d}", saved, list(accepted), "f" * 64)


def steps(segments):
    return [(one.from_step, one.to_step, one.reason) for one in segments.all]


def test_a_run_without_interruption_has_one(start, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "71")
    segments = start()
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    with segments.begin(None, conditions(code="cccc")):
        segments.end("completed", 10)
    (one,) = start().all
    assert (one.from_step, one.to_step, one.reason) == (0, 10, "completed")
    assert (one.checkpoint, one.code, one.accepted, one.job) == (None, "cccc", [], "71")
    assert before <= datetime.datetime.fromisoformat(one.start) <= datetime.datetime.fromisoformat(one.end)


def test_what_was_killed_is_found_in_the_log(start, tmp_path):
    with start().begin(None, conditions()):
        # The process ends here without a word.
        log_steps(tmp_path, 7)
        later = start()
    assert steps(later) == [(0, 0, "killed")]
    with later.begin(found(5, "code: a → b"), conditions(code="b")):
        log_steps(tmp_path, 6)
        third = start()
        with third.begin(found(5), conditions()):
            log_steps(tmp_path, 8)
            third.end("interrupted", 8)
    last = start()
    assert steps(last) == [(0, 7, "killed"), (5, 6, "killed"), (5, 8, "interrupted")]
    assert [one.accepted for one in last.all] == [[], ["code: a → b"], []]
    assert last.all[1].checkpoint == "f" * 64


def test_an_error_is_a_failure_after_the_steps_that_were_done(start, tmp_path):
    with pytest.raises(OSError, match="full"), start().begin(None, conditions()):
        log_steps(tmp_path, 3)
        raise OSError("the disk is full")
    assert steps(start()) == [(0, 3, "failed")]


def test_a_run_that_cannot_be_published_has_failed(start, tmp_path):
    segments = start()
    with pytest.raises(OSError, match="full"), segments.begin(None, conditions()):
        log_steps(tmp_path, 10)
        segments.end("completed", 10)
        raise OSError("the disk is full")
    assert steps(start()) == [(0, 10, "failed")]


@pytest.mark.parametrize("content", ["[]", '{"segments": [{}]}', "\xff"])
def test_a_damaged_record_costs_the_record_alone(start, tmp_path, content, caplog):
    (tmp_path / "segments.json").write_text(content, "latin-1")
    segments = start()
    assert segments.all == [] and "the earlier segments of this run are not known" in caplog.text
    with segments.begin(None, conditions()):
        segments.end("completed", 1)
    assert steps(start()) == [(0, 1, "completed")]
