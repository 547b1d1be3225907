"""Half precision on a real GPU: run `pytest -m gpu tests/gpu` on a machine with a GPU."""

import functools
import subprocess
import sys

import pytest
import torch

from dnatune.files import read_json, read_json_lines
from dnatune.settings import experiment
from samples import LORA, TASK

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def finetune(tmp_path, model, prepared, method, precision, zero_stage):
    """Train 30 steps on one GPU; return run.json and the lines of training.jsonl."""
    experiment.resolve(
        {
            "name": "gpu",
            "models": {"tiny": {"source": "tiny"}},
            "data": {"source": "simulated"},
            "tasks": [TASK.name],
            "budget": {"steps": 30},
            "lora": LORA.plain(),
            "optimizers": {method: {"learning_rate": 3e-3 if method == "adamw" else 0.1}},
            "training": {
                "precision": precision,
                "zero_stage": zero_stage,
                "global_batch_size": 32,
                "micro_batch_size": 16 if zero_stage == 3 else "auto",
                "gradient_checkpointing": False if zero_stage == 3 else "auto",
            },
        }
    ).write(tmp_path / "experiment.json")
    command = [sys.executable, "-m", "dnatune", "launch", "--ranks", "1", "--cpus", "2", "finetune"]
    command += ["--experiment", tmp_path / "experiment.json", "--run", f"tiny/{TASK.name}/{method}/seed0"]
    command += ["--model", model, "--train", prepared / "train.jsonl", "--dev", prepared / "dev.jsonl"]
    command += ["--record", tmp_path / "run.json", "--training-log", tmp_path / "log.jsonl"]
    command += ["--checkpoints", tmp_path / "checkpoints"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_json(tmp_path / "run.json"), read_json_lines(tmp_path / "log.jsonl")


@pytest.fixture(scope="module")
def full(tmp_path_factory, tiny_model, prepared):
    """A function that trains with a method in fp32 and returns the lines of training.jsonl."""

    @functools.cache
    def lines(method):
        folder = tmp_path_factory.mktemp("full")
        return finetune(folder, tiny_model, prepared, method, "fp32", zero_stage=1)[1]

    return lines


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("method", ["adamw", "rk4"])
def test_half_precision_follows_fp32(tmp_path, tiny_model, prepared, full, method, precision, zero_stage):
    run, half = finetune(tmp_path, tiny_model, prepared, method, precision, zero_stage)
    assert run["status"] == "completed" and run["precision"] == precision and run["device"] != "cpu"
    stages = 4 if method == "rk4" else 1
    # Loss scaling begins too high and skips stages: each must have been repeated, none lost or counted twice.
    assert [row["gradient_evaluations"] for row in half] == [stages * (step + 1) for step in range(30)]
    for ours, reference in zip(half, full(method), strict=True):
        assert ours["loss"] == pytest.approx(reference["loss"], rel=0.05)
    assert half[-1]["loss"] < half[0]["loss"]
