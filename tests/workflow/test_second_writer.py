"""A second writer of a run, which Snakemake cannot know of, finds what the first has made."""

import argparse
import json
import shutil
import time

import pytest

from dnatune.commands import finetune
from dnatune.files import read_json, read_json_lines
from dnatune.training.record import Run
from workflow_runs import RUN, said


def contents(folder):
    files = (*(folder / "adapter").iterdir(), folder / "run.json", folder / "training.jsonl")
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.fault("two writers")
def test_whoever_waited_for_the_same_run_leaves_it_and_another_run_is_made(start_training, tmp_path):
    first = start_training(tmp_path, job="1")
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoints/run.lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    second = start_training(tmp_path, job="1")
    assert "is complete" not in said(first)
    made = contents(tmp_path)
    log = said(second)
    assert "waiting: Slurm job 1" in log and "this very run is complete" in log
    assert "step 1 of" not in log
    assert contents(tmp_path) == made
    assert not (tmp_path / "checkpoints").exists()

    # Other settings make another run.
    assert "is complete" not in said(start_training(tmp_path, budget={"steps": 3}))
    assert len(read_json_lines(tmp_path / "training.jsonl")) == 3


@pytest.fixture
def is_made(chain, tmp_path):
    """A function that tells whether a copy of the chain's run counts as made, and the copy's folder."""
    shutil.copytree(chain.results / RUN, tmp_path / "run")
    folder = tmp_path / "run"
    run = Run.read(folder / "run.json")

    def tell(trial=False, code=run.software.code):
        options = argparse.Namespace(record=folder / "run.json", training_log=folder / "training.jsonl", trial=trial)
        software = run.software.model_copy(update={"code": code})
        return finetune.is_complete(options, run.model_copy(update={"software": software}))

    return tell, folder


def test_a_whole_run_of_the_same_code_is_made(is_made):
    tell, _ = is_made
    assert tell()
    assert not tell(code="another")


@pytest.mark.fault("flipped, cut, missing and foreign files")
@pytest.mark.parametrize(
    "lost", ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "training.jsonl", "run.json"]
)
def test_a_run_that_has_lost_a_file_is_not(is_made, lost):
    tell, folder = is_made
    (folder / lost).unlink()
    assert not tell()


def test_a_trial_keeps_no_weights(is_made):
    tell, folder = is_made
    record = Run.read(folder / "run.json")
    kept = record.outputs.restricted("training.jsonl")
    record.model_copy(update={"outputs": kept}).write(folder / "run.json")
    shutil.rmtree(folder / "adapter")
    assert tell(trial=True)


@pytest.mark.parametrize(
    "change",
    [{"ranks": 2}, {"precision": "bf16"}, {"inputs": {"model": "a", "train": "b"}}, {"settings": {}}, {"steps": None}],
)
def test_another_run_in_its_place_is_not(is_made, change):
    tell, folder = is_made
    record = folder / "run.json"
    record.write_text(json.dumps({**read_json(record), "digest": None, **change}))
    assert not tell()
