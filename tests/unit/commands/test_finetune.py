"""A run appears whole: run.json is the first file to go and the last to come."""

import argparse

import pytest

from dnatune.commands import finetune
from dnatune.training.record import Run
from run_records import run_record

DIVERGENCE = {"step": 2, "loss": None, "gradient_norm": None, "reason": "the loss is not finite"}


@pytest.fixture
def options(tmp_path):
    (tmp_path / "log").write_text('{"step": 1}\n')
    return argparse.Namespace(
        record=tmp_path / "out/run.json", training_log=tmp_path / "out/training.jsonl", trial=None
    )


def publish(options, run, log):
    with finetune.publication(options, run, log) as adapter:
        if adapter:
            (adapter / "weights").write_text(str(run.seed))


def test_a_run_is_published_with_its_adapter(options, tmp_path):
    publish(options, run_record(seed=3), tmp_path / "log")
    assert Run.read(options.record).seed == 3
    assert (tmp_path / "out/adapter/weights").read_text() == "3"
    assert options.training_log.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize("kind", ["diverged", "trial"])
def test_a_diverged_run_and_a_trial_leave_no_adapter_of_an_earlier_run(kind, options, tmp_path):
    publish(options, run_record(seed=3), tmp_path / "log")
    options.trial = "tiny/prom_core_all/adamw/rate0.1" if kind == "trial" else None
    publish(options, run_record(diverged=DIVERGENCE if kind == "diverged" else None), tmp_path / "log")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run.json", "training.jsonl"}


def test_what_fails_while_the_adapter_is_written_leaves_the_earlier_run(options, tmp_path):
    publish(options, run_record(seed=3), tmp_path / "log")
    with pytest.raises(OSError, match="disk"), finetune.publication(options, run_record(seed=4), tmp_path / "log"):
        raise OSError("the disk is full")
    assert Run.read(options.record).seed == 3
    assert (tmp_path / "out/adapter/weights").read_text() == "3"


def test_a_run_that_is_cut_between_its_files_does_not_look_finished(options, tmp_path):
    publish(options, run_record(seed=3), tmp_path / "log")
    with pytest.raises(FileNotFoundError):
        publish(options, run_record(seed=4), tmp_path / "no log")
    assert not options.record.exists()
