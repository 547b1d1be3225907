"""A rank is killed before each file operation from its second save on: the same command ends in the same run."""

import json
import os
import subprocess

import pytest

from workflow_runs import PYTHON, ROOT, small

PLACE = "tiny/prom_core_all/{}/seed3"
#: Six steps, saved after every second: the second save, the third and the end are looked at.
SHORT = {"budget": {"steps": 6}, "training": {"save_steps": 2, "evaluation_steps": 6}}
OPTIMIZERS = {"wild": None, "adamw": {"learning_rate": 1.0e-3}, "rk4": {"learning_rate": 1.0e-2}}


@pytest.mark.slow
@pytest.mark.fault("SIGKILL before each file operation")
@pytest.mark.parametrize("method", ["adamw", "rk4"])
@pytest.mark.parametrize(("ranks", "rank"), [(1, 0), (2, 0), (2, 1)])
def test_whenever_a_rank_is_killed_the_run_ends_as_it_would_have(
    tmp_path, tiny_model, prepared, record_property, method, ranks, rank
):
    experiment, folder = tmp_path / "experiment.json", tmp_path / "run"
    experiment.write_text(json.dumps(small(**SHORT, optimizers=OPTIMIZERS)), "utf-8")
    arguments = ["--ranks", str(ranks), "--cpus", str(ranks), "--state", folder / "checkpoints", "finetune"]
    arguments += ["--experiment", experiment, "--run", PLACE.format(method), "--model", tiny_model]
    arguments += ["--checkpoints", folder / "checkpoints", "--train", prepared / "train.jsonl"]
    arguments += ["--dev", prepared / "dev.jsonl", "--record", folder / "run.json"]
    arguments += ["--training-log", folder / "training.jsonl"]
    script = ROOT / "tests/support/killed_trainings.py"
    done = subprocess.run(
        [PYTHON, script, folder, str(rank), "step-00000004", *arguments],
        # Inside a job the launcher waits until the ranks of a killed one are gone.
        env={**os.environ, "SLURM_JOB_ID": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    record_property("cases", len(found))
    for each in found:
        assert each["same"] and each["again"] == 0, each
    # A rank that does not write the run has only its part of the checkpoint. What safetensors writes is not seen here.
    assert len(found) >= (10 if rank == 0 else 2), found
