"""Training that is told to end, or is killed, goes on with the same command, with default settings."""

import json
import os
import signal
import subprocess
import time

import pytest

from workflow_runs import PYTHON, said, small

PLACE = "tiny/prom_core_all/adamw/seed3"


@pytest.fixture
def start(tmp_path, tiny_model, prepared):
    """A function that starts the same training on two ranks."""
    experiment, state = tmp_path / "experiment.json", tmp_path / "checkpoints"
    experiment.write_text(json.dumps(small(budget={"steps": 300})), "utf-8")
    command = [PYTHON, "-m", "dnatune", "launch", "--ranks", "2", "--cpus", "2", "--state", state, "finetune"]
    command += ["--experiment", experiment, "--run", PLACE, "--model", tiny_model, "--checkpoints", state]
    command += ["--train", prepared / "train.jsonl", "--dev", prepared / "dev.jsonl"]
    command += ["--record", tmp_path / "run.json", "--training-log", tmp_path / "training.jsonl"]

    def begin():
        # Inside a job the launcher waits until the ranks of a killed one are gone.
        environment = {**os.environ, "SLURM_JOB_ID": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


def wait_for(process, folder, pattern):
    ends = time.monotonic() + 240
    while not [*folder.glob(pattern)]:
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP))]
)
def test_a_launcher_that_is_told_to_end_saves_within_a_minute(start, tmp_path, number):
    process = start()
    wait_for(process, tmp_path, "checkpoints/*/step-*[0-9]")
    began = time.monotonic()
    process.send_signal(number)
    _, log = process.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert f"told to end by signal {int(number)}" in log and "the run is saved at step" in log
    assert "Traceback" not in log
    step = log.split("the run is saved at step ")[1].split()[0]
    assert f"continuing from checkpoint step-{int(step):08d}" in said(start())


def test_a_run_that_is_killed_goes_on_from_a_checkpoint_that_nobody_asked_for(start, tmp_path):
    process = start()
    wait_for(process, tmp_path, "checkpoints/*/step-*[0-9]")
    process.kill()
    process.wait()
    assert "continuing from checkpoint step-" in said(start())
    assert not (tmp_path / "checkpoints").exists()
