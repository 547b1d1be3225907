"""Snakemake that is told to end saves its training and ends; after one that was killed the same command goes on."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dnatune.launch import snakemake_lock
from workflow_runs import RUN, Workplace, small

TARGET = f"results/small/{RUN}/training.jsonl"
LONG = small(budget={"steps": 150}, optimizers={"wild": None}, training={"save_steps": 10, "evaluation_steps": 150})


@pytest.fixture
def workplace(tmp_path):
    return Workplace(tmp_path)


def start(workplace):
    """Start Snakemake, until its training has saved something; return it."""
    command = workplace.command(LONG, TARGET)
    environment = {**os.environ, "DNATUNE_SITE": str(workplace.site), "PYTHONPATH": ""}
    said = (workplace.folder / "said.txt").open("w")
    # Tests that a shell runs in its background ignore SIGINT, and would hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [str(word) for word in command], cwd=workplace.folder, env=environment, stdout=said, stderr=subprocess.STDOUT
    )
    ends = time.monotonic() + 240
    while not [*workplace.results.glob("finetune/**/checkpoints/*/step-*[0-9]")]:
        assert process.poll() is None and time.monotonic() < ends, said_by(workplace)
        time.sleep(0.05)
    return process


def said_by(workplace):
    return (workplace.folder / "said.txt").read_text("utf-8")


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGHUP))]
)
def test_snakemake_that_is_told_to_end_saves_within_a_minute(workplace, number):
    process = start(workplace)
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) != 0
    assert time.monotonic() - began < 60
    assert "the run is saved at step" in said_by(workplace) and "Traceback" not in said_by(workplace)
    log = workplace.folder / "logs/small" / f"{RUN}.log"
    step = log.read_text("utf-8").split("the run is saved at step ")[1].split()[0]
    # It has unlocked its folder and tidied up: the very same command goes on.
    workplace.complete(LONG, TARGET)
    assert f"continuing from checkpoint step-{int(step):08d}" in log.read_text("utf-8")
    assert not [*workplace.folder.glob(".snakemake/dnatune/*")]


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
@pytest.mark.slow
def test_after_a_snakemake_that_was_killed_the_same_command_goes_on(workplace):
    process = start(workplace)
    process.kill()
    process.wait()
    assert [*workplace.folder.glob(".snakemake/locks/*")]
    # Its training lives on, and nobody may write beside it; it stands still so that it does not end by itself.
    (record,) = workplace.folder.glob(".snakemake/dnatune/*")
    left = snakemake_lock._jobs_of(json.loads(record.read_text("utf-8")))
    for each in left:
        os.kill(each, signal.SIGSTOP)
    refused = workplace.snakemake(LONG, TARGET)
    assert refused.code != 0 and "Traceback" not in refused.output
    assert f"(kill {' '.join(map(str, left))})" in refused.output
    for each in left:
        os.kill(each, signal.SIGKILL)
    while any(Path(f"/proc/{each}").exists() for each in left):
        time.sleep(0.1)
    done = workplace.complete(LONG, TARGET)
    assert f"removed the lock of process {process.pid} on " in done.output
    log = workplace.folder / "logs/small" / f"{RUN}.log"
    assert "continuing from checkpoint step-" in log.read_text("utf-8")
