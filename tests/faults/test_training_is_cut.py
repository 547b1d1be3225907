"""Training that is told to end, or is killed, goes on with the same command, with default settings."""

import signal
import time

import pytest

from dnatune.files import sha256_of_file
from dnatune.training.record import Run
from workflow_runs import said, wait_for


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
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
    (place,) = tmp_path.glob(f"checkpoints/*/step-{int(step):08d}")
    digest = sha256_of_file(place / "manifest.json")
    assert f"continuing from checkpoint {place.name}" in said(start())
    first, last = Run.read(tmp_path / "run.json").segments
    assert (first.reason, first.from_step, first.to_step, first.checkpoint) == ("interrupted", 0, int(step), None)
    assert (last.reason, last.from_step, last.to_step, last.checkpoint) == ("completed", int(step), 300, digest)
    assert first.job == "1" and first.code == last.code and not last.accepted
    assert first.start <= first.end <= last.start <= last.end


@pytest.mark.fault("SIGTERM, SIGINT, SIGHUP or SIGKILL of Snakemake or a launcher")
def test_a_run_that_is_killed_goes_on_from_a_checkpoint_that_nobody_asked_for(start, cut, tmp_path):
    cut()
    assert "continuing from checkpoint step-" in said(start())
    first, last = Run.read(tmp_path / "run.json").segments
    assert (first.reason, last.reason) == ("killed", "completed")
    # It was killed after the checkpoint from which the second start goes on.
    assert 0 < last.from_step <= first.to_step < last.to_step == 300
    assert not (tmp_path / "checkpoints").exists()
