"""A second writer of a run, which Snakemake cannot know of, finds what the first has made."""

import json
import os
import subprocess
import time

import pytest
from workflow_runs import PYTHON, SCRIPTS

from dnatune.files import read_json, read_json_lines

RUN = "finetune/tiny/prom_core_all/adamw/seed3"


@pytest.fixture
def start(chain, tmp_path):
    """Return a function that starts the run of the chain once more, in a folder of its own, as a job would."""
    settings = read_json(chain.results / RUN / "adapter/run.json")["settings"]

    def begin(**changes):
        (tmp_path / "settings.json").write_text(json.dumps({**settings, **changes}))
        command = [PYTHON, SCRIPTS / "launch.py", "--ranks", "1", "--state", tmp_path / "checkpoints", "finetune"]
        command += ["--settings", (tmp_path / "settings.json").read_text()]
        command += ["--model", chain.results / "download/models/tiny", "--checkpoints", tmp_path / "checkpoints"]
        for split in ("train", "dev"):
            command += [f"--{split}", chain.results / f"prepare/prom_core_all/{split}.jsonl"]
        command += ["--adapter", tmp_path / "adapter", "--log", tmp_path / "training.jsonl"]
        # Inside a job the launcher waits for another writer.
        environment = {**os.environ, "SLURM_JOB_ID": "1"}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


def said(process):
    _, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    return log


def contents(folder):
    return {path.name: path.read_bytes() for path in (*(folder / "adapter").iterdir(), folder / "training.jsonl")}


def test_whoever_waited_for_the_same_run_leaves_it_and_another_run_is_made(start, tmp_path):
    first = start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "checkpoints/run.lock").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    second = start()
    assert "is complete" not in said(first)
    made = contents(tmp_path)
    log = said(second)
    assert "waiting: Slurm job 1" in log and "this very run is complete" in log
    assert "step 1 of" not in log
    assert contents(tmp_path) == made
    assert not (tmp_path / "checkpoints").exists()

    # Other settings make another run.
    other = said(start(budget={"steps": 3}))
    assert "is complete" not in other
    assert len(read_json_lines(tmp_path / "training.jsonl")) == 3


def test_what_is_not_whole_or_of_other_code_is_made_again(start, tmp_path):
    said(start(budget={"steps": 2}))
    record = tmp_path / "adapter/run.json"
    run = read_json(record)
    files = (record, tmp_path / "adapter/adapter_config.json", tmp_path / "training.jsonl")
    other = {**run, "software": {**run["software"], "code": "another"}}
    for lose in (files[1].unlink, files[2].unlink, lambda: record.write_text(json.dumps(other))):
        lose()
        assert "is complete" not in said(start(budget={"steps": 2}))
        assert read_json(record)["software"] == run["software"]
        assert all(file.is_file() for file in files)
