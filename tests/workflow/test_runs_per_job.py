"""Runs that share a job are those that each would be in a job of its own, and lose nothing by each other."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

import forked_python
from dnatune.files import sha256_of_file
from dnatune.launch import run_lock
from workflow_runs import PYTHON, copied, files_below, run, small, wait_for

CELL = "tiny/prom_core_all/adamw"
CALM = {"wild": None}
#: More steps than pass while a test looks.
LONG = {"optimizers": CALM, "budget": {"steps": 150}, "seeds": [3, 4, 5], "runs_per_job": 3}


def command(workplace, configuration, seeds, ranks=1, python=None):
    """Return the command of a job that trains runs of these seeds, in forks unless a Python is given."""
    experiment = workplace.folder / "experiment.yaml"
    experiment.write_text(yaml.safe_dump(configuration), "utf-8")
    words = [python or forked_python.interpreter(), "-m", "dnatune", "finetune_runs", "--experiment", experiment]
    words += ["--results", "results/small", "--ranks", str(ranks), "--cpus", str(ranks)]
    return [*words, *(f"{CELL}/seed{seed}" for seed in seeds)]


def hashes(workplace, seed):
    """Return the hashes of what a run has published but run.json, in which times stand."""
    folder = workplace.results / "finetune" / CELL / f"seed{seed}"
    return {name: sha256_of_file(folder / name) for name in files_below(folder) if name.startswith("adapter/")}


def forget_outputs(workplace, seed):
    """Delete what Snakemake deletes of a run whose job has failed."""
    for name in ("run.json", "training.jsonl"):
        (workplace.results / "finetune" / CELL / f"seed{seed}" / name).unlink(missing_ok=True)


def test_a_run_among_others_is_the_run_alone(chain, tmp_path):
    shared, alone = (copied(chain.folder, tmp_path / name) for name in ("shared", "alone"))
    shared.complete(small(seeds=[3, 4, 5], optimizers=CALM, runs_per_job=2))
    counts = shared.plan(small(seeds=[3, 4, 5, 6, 7], optimizers=CALM, runs_per_job=2)).counts
    assert counts == {"finetune_2": 1, "finetune_3": 1, "evaluate": 1, "compare": 1}
    log = (shared.folder / f"logs/small/finetune/{CELL}/seed3-4.log").read_text("utf-8")
    # The run was there, as a job of its own had made it.
    assert log.count("this very run is complete") == 1 and "seed3" in log
    alone.complete(small(seeds=[3, 4, 5], optimizers=CALM))
    for seed in (3, 4, 5):
        assert hashes(shared, seed) == hashes(alone, seed)
        scores = [place.results / "evaluate" / CELL / f"seed{seed}/predictions.tsv" for place in (shared, alone)]
        assert scores[0].read_bytes() == scores[1].read_bytes()
    assert len({str(hashes(shared, seed)) for seed in (3, 4, 5)}) == 3
    for number in (1, 3):
        assert shared.plan(small(seeds=[3, 4, 5], optimizers=CALM, runs_per_job=number)).counts == {}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_that_ends_early_goes_on_with_the_run_that_it_was_at(copied_chain, number):
    words = command(copied_chain, small(**LONG), [4, 5])
    with subprocess.Popen(words, cwd=copied_chain.folder, stderr=subprocess.PIPE, text=True) as job:
        # Both runs say it; the second one trains when it is said again.
        seen = (line for line in job.stderr if "step 10 of 150" in line)
        assert next(seen) and next(seen)
        job.send_signal(number)
        job.communicate(timeout=60)
    assert job.returncode
    made = hashes(copied_chain, 4)
    assert made and not hashes(copied_chain, 5)
    for seed in (4, 5):
        forget_outputs(copied_chain, seed)
    # As at the next start, but alone: with other seeds it is the same run.
    log = run(command(copied_chain, small(**LONG), [4]), copied_chain.folder)
    assert log.code == 0 and "this very run is complete" in log.output
    log = run(command(copied_chain, small(**LONG), [4, 5]), copied_chain.folder)
    assert log.code == 0 and log.output.count("this very run is complete") == 1
    assert ("continuing from checkpoint" in log.output) == (number == signal.SIGTERM)
    assert hashes(copied_chain, 4) == made and hashes(copied_chain, 5)


def test_a_run_that_fails_or_diverges_leaves_the_others_alone(copied_chain):
    diverging = small(seeds=[3, 4, 5], runs_per_job=3, optimizers={"adamw": {"learning_rate": 1.0e4}})
    locked = copied_chain.results / "finetune" / CELL / "seed4/checkpoints"
    with run_lock.held(locked, 0):
        done = run(command(copied_chain, diverging, [3, 4, 5]), copied_chain.folder)
    assert done.code == 6 and "Traceback" not in done.output
    last = done.output.strip().splitlines()
    (told,) = [line for line in last if line.startswith("dnatune: ")]
    assert f"RunError: {CELL}/seed4: process {os.getpid()}" in told and "is writing this run" in told
    for seed in (3, 5):
        record = (copied_chain.results / "finetune" / CELL / f"seed{seed}/run.json").read_text("utf-8")
        assert '"status": "diverged"' in record
    assert not (locked.parent / "run.json").exists()
    done = run(command(copied_chain, diverging, [3, 4, 5]), copied_chain.folder)
    assert done.code == 0 and done.output.count("this very run is complete") == 2
    assert (locked.parent / "run.json").exists()


def test_a_run_that_runs_out_of_memory_leaves_the_others_alone(copied_chain):
    """The kernel ends a rank; here the test does, at the second run."""
    words = command(copied_chain, small(**LONG), [4, 5], python=PYTHON)
    with subprocess.Popen(words, cwd=copied_chain.folder, stderr=subprocess.PIPE, text=True) as job:
        folder = copied_chain.results / "finetune" / CELL
        wait_for(job, folder, "seed4/checkpoints/*/*")
        (rank,) = children(job.pid)
        os.kill(rank, signal.SIGKILL)
        _, said = job.communicate(timeout=200)
    assert job.returncode == 6 and f"RunError: {CELL}/seed4: rank 0 was ended by signal 9" in said
    assert not hashes(copied_chain, 4) and hashes(copied_chain, 5)


def children(process):
    """Return the processes that a process has started and that still run."""
    return list(map(int, Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()))


def test_two_ranks_train_runs_one_after_the_other(copied_chain):
    done = run(command(copied_chain, small(**LONG), [4, 5], ranks=2), copied_chain.folder)
    assert done.code == 0, done.output
    assert len({str(hashes(copied_chain, seed)) for seed in (4, 5)}) == 2


def test_a_place_that_is_none_is_refused(copied_chain):
    for wrong in ("adamw", f"{CELL}/seed9", f"{CELL}/rate0.1", "no/such/model/seed3"):
        words = [*command(copied_chain, small(), [3]), wrong]
        done = run(words, copied_chain.folder)
        assert done.code == 2 and "Traceback" not in done.output, done.output
        assert f"the grid has no run {wrong}" in done.output
    # None was begun, not even the one that there is.
    assert not (copied_chain.results / "tuning").exists() and "rank 0" not in done.output
