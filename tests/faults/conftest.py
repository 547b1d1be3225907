"""Training as the rule finetune starts it, on as many ranks as a test asks for, or with a fault of its disk."""

import json
import os
import subprocess

import pytest

import forked_python
from workflow_runs import ROOT, small, wait_for

PLACE = "tiny/prom_core_all/adamw/seed3"


@pytest.fixture
def start(tmp_path, tiny_model, prepared):
    """A function that starts a training in the test's folder.

    `folder` is for what it writes; `faults` are a fault of tests/support/faulty_saves.py and the rank that meets it.
    """

    def begin(*options, ranks=2, folder=tmp_path, faults=(), **changes):
        experiment, state = tmp_path / "experiment.json", folder / "checkpoints"
        experiment.write_text(json.dumps(small(**{"budget": {"steps": 300}, **changes})), "utf-8")
        command = forked_python.stage("launch", "--ranks", str(ranks), "--cpus", str(ranks), "--state", state)
        stage = [ROOT / "tests/support/faulty_saves.py", *map(str, faults)] if faults else ["finetune"]
        command += [*stage, "--experiment", experiment, "--run", PLACE, "--model", tiny_model]
        command += ["--checkpoints", state, "--train", prepared / "train.jsonl", "--dev", prepared / "dev.jsonl"]
        command += ["--record", folder / "run.json", "--training-log", folder / "training.jsonl", *options]
        # Inside a job the launcher waits until the ranks of a killed one are gone.
        environment = {**os.environ, "SLURM_JOB_ID": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


@pytest.fixture
def cut(start, tmp_path):
    """A function that kills a training when it has its first checkpoint, and returns that folder."""

    def cut_short(**options):
        process = start(**options)
        wait_for(process, tmp_path, "checkpoints/*/step-*[0-9]")
        process.kill()
        process.communicate()
        return min(tmp_path.glob("checkpoints/*/step-*[0-9]"))

    return cut_short
