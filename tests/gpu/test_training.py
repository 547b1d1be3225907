"""Training in half precision and by compiled code: run `pytest -m gpu tests/gpu` on a machine with a GPU."""

import functools
import itertools
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


STEPS = 30
RATES = {"adamw": 3e-3, "rk4": 0.1, "sgd": 1e30}


def finetune(tmp_path, model, prepared, method, precision, zero_stage, dropout=LORA.dropout, **training):
    """Train 30 steps on one GPU; return run.json and the lines of training.jsonl."""
    experiment.resolve(
        {
            "name": "gpu",
            "models": {"tiny": {"source": "tiny"}},
            "data": {"source": "simulated"},
            "tasks": [TASK.name],
            "budget": {"steps": STEPS},
            "lora": {**LORA.plain(), "dropout": dropout},
            "optimizers": {method: {"learning_rate": RATES[method]}},
            "training": {
                "precision": precision,
                "zero_stage": zero_stage,
                "global_batch_size": 32,
                "micro_batch_size": 16 if zero_stage == 3 else "auto",
                "gradient_checkpointing": False if zero_stage == 3 else "auto",
                **training,
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
    # Where loss scaling is too high it skips stages: each must have been repeated, none lost or counted twice.
    evaluations = [0, *(row["gradient_evaluations"] for row in half)]
    assert all(later - earlier >= stages for earlier, later in itertools.pairwise(evaluations))
    assert evaluations[-1] == run["gradient_evaluations"] == stages * STEPS + run["repeated_evaluations"]
    assert precision == "fp16" or run["repeated_evaluations"] == 0
    for ours, reference in zip(half, full(method), strict=True):
        assert ours["loss"] == pytest.approx(reference["loss"], rel=0.05)
    assert half[-1]["loss"] < half[0]["loss"]


@pytest.mark.parametrize(
    ("precision", "tolerance", "recomputed"), [("fp32", 1e-4, False), ("fp32", 1e-4, True), ("fp16", 0.05, False)]
)
@pytest.mark.parametrize("method", ["adamw", "rk4"])
def test_compiled_training_follows_that_of_transformers_layers(
    tmp_path, tiny_model, prepared, method, precision, tolerance, recomputed
):
    losses = {}
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        folder.mkdir()
        run, rows = finetune(
            folder,
            tiny_model,
            prepared,
            method,
            precision,
            2,
            dropout=0.0,
            compile=compiled,
            gradient_checkpointing=recomputed,
        )
        assert run["status"] == "completed" and run["compiled"] == compiled
        losses[compiled] = [row["loss"] for row in rows]
    assert losses[True] == pytest.approx(losses[False], rel=tolerance)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_gradient_that_is_not_finite_ends_the_run(tmp_path, tiny_model, prepared, compiled):
    # Steps of this size leave all that bf16 can represent.
    run, rows = finetune(
        tmp_path, tiny_model, prepared, "sgd", "bf16", 2, compile=compiled, max_grad_norm=0, divergence_loss=1e30
    )
    assert run["status"] == "diverged" and run["steps"] == len(rows) < STEPS
