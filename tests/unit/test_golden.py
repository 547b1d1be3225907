"""Losses and predictions of one small run per optimizer, compared with those that are kept in golden/.

Where the files were made (processor, its vector instructions, torch) every number must be the same to the last bit;
elsewhere within `RTOL`, since another order of the same sums rounds differently. If numbers are meant to change:

    DNATUNE_GOLDEN=remake OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests/unit/test_golden.py

writes the files again; their differences belong in the commit that changes the numbers.
"""

import copy
import csv
import importlib
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import forked_python
from dnatune.data.records import write_split
from dnatune.data.simulation import SimulationSettings, simulate
from dnatune.files import read_json, read_json_lines, write_json
from dnatune.settings.experiment import Configuration, resolve
from dnatune.settings.grid import Run
from samples import LORA, ROOT, TASK, make_tiny_model, split_of

GOLDEN = Path(__file__).with_name("golden")
SCRIPTS = ROOT / "workflow"
#: Another instruction set on one machine moved no number by more than 1.3e-6; what must be seen is 1e-3.
RTOL = 1e-4
#: Rows and steps are few, so the learning rates are large: each step moves the loss, and RK4 leaves SGD's path.
SIMULATED = {"train_size": 300, "dev_size": 40, "test_size": 40, "seed": 7}
STEPS = 8
OPTIMIZERS = {
    "adamw": {"learning_rate": 1.0e-2, "weight_decay": 0.01},
    "sgd": {"learning_rate": 0.2},
    "rk4": {"learning_rate": 0.2},
    "rkc": {"learning_rate": 0.2},
    "rk4_adam": {"learning_rate": 1.0e-2},
}
STAGES = {"adamw": 1, "sgd": 1, "rk4": 4, "rkc": 4, "rk4_adam": 4}


def configuration() -> Configuration:
    """Return the configuration of all runs; the budget counts gradient evaluations, `STEPS` steps of each method."""
    return resolve(
        {
            "name": "golden",
            "models": {"tiny": {"source": "tiny", "tiny": {}}},
            "data": {"source": "simulated", "simulated": SIMULATED},
            "tasks": [TASK.name],
            "seeds": [3],
            "budget": {"steps": STEPS},
            "optimizers": {
                name: {**entry, "budget": {"gradient_evaluations": STEPS * STAGES[name]}}
                for name, entry in OPTIMIZERS.items()
            },
            # torch draws dropout by other means on an Intel processor than on others.
            "lora": LORA.plain(),
            "training": {
                "global_batch_size": 16,
                "micro_batch_size": 8,
                "gradient_checkpointing": False,
                "precision": "fp32",
                "evaluation_steps": 4,
                "logging_steps": 1,
            },
            "evaluation": {"batch_size": 16},
        }
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with the model `tiny` and the records train.jsonl, dev.jsonl and test.jsonl."""
    folder = tmp_path_factory.mktemp("golden")
    splits = simulate(SimulationSettings(**SIMULATED))
    for name, rows in splits.items():
        write_split(folder / f"{name}.jsonl", split_of(rows), TASK.labels)
    make_tiny_model(folder / "tiny", splits["train"])
    return folder


def call(*command: str | Path) -> None:
    """Run a script of the workflow to its end on one thread; more threads would change the order of sums."""
    arguments = [forked_python.interpreter(), *map(str, command)]
    done = subprocess.run(
        arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def call_here(stage: str, *words: str | Path) -> None:
    """Run a stage in this process, which has loaded torch already, on one thread."""
    threads, arguments = torch.get_num_threads(), sys.argv
    torch.set_num_threads(1)
    sys.argv = [stage, *map(str, words)]
    try:
        importlib.import_module(f"dnatune.commands.{stage}").main()
    finally:
        torch.set_num_threads(threads)
        sys.argv = arguments


def measure(optimizer: str, inputs: Path, folder: Path) -> dict[str, Any]:
    """Train, merge and evaluate as the rules do; return every number of it that must not move."""
    settings = configuration()
    run = Run("tiny", TASK.name, optimizer, 3)
    state, made, log = folder / "checkpoints", folder / "run.json", folder / "training.jsonl"
    model, merged, predictions = inputs / "tiny", folder / "merged", folder / "predictions.tsv"
    launch = ("-m", "dnatune", "launch", "--nodes", "1", "--ranks", "1", "--cpus", "1", "--state", state, "finetune")
    training = ("--model", model, "--train", inputs / "train.jsonl", "--dev", inputs / "dev.jsonl")
    outputs = ("--record", made, "--training-log", log, "--checkpoints", state)
    settings.write(folder / "experiment.json")
    experiment = ("--experiment", folder / "experiment.json")
    call(*launch, *experiment, "--run", run.path, *training, *outputs)
    call_here("merge", *experiment, "--model", model, "--record", made, "--folder", merged)
    scoring = (*experiment, "--task", TASK.name, "--model", model, "--record", made, "--merged", merged)
    scoring += ("--agreement", folder / "merge.json")
    scores = ("--test", inputs / "test.jsonl", "--predictions", predictions, "--metrics", folder / "metrics.json")
    call_here("evaluate", *scoring, *scores)
    record, rows = read_json(made), read_json_lines(log)
    with predictions.open(encoding="utf-8", newline="") as stream:
        scored = list(csv.DictReader(stream, delimiter="\t"))
    return {
        "made_on": {
            "cpu": record["cpu"],
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "torch": record["software"]["torch"],
        },
        "steps": record["steps"],
        "gradient_evaluations": record["gradient_evaluations"],
        "losses": [row["loss"] for row in rows],
        "gradient_norms": [row["gradient_norm"] for row in rows],
        "dev_losses": [row["dev_loss"] for row in rows if "dev_loss" in row],
        "log_probabilities": [[float(row["logp_0"]), float(row["logp_1"])] for row in scored],
    }


def numbers(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested lists and maps with where it stands."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(item, f"{place}/{key}")
    else:
        yield place, value


def differences(found: dict[str, Any], golden: dict[str, Any], exact: bool) -> list[str]:
    """Return a line for each number that is missing, new or has moved."""
    left, right = (dict(numbers({**side, "made_on": {}})) for side in (found, golden))
    tolerance = 0.0 if exact else RTOL
    return [
        f"{place}: {left.get(place)!r} where it was {right.get(place)!r}"
        for place in sorted(left.keys() | right.keys())
        if place not in left
        or place not in right
        or not math.isclose(left[place], right[place], rel_tol=tolerance, abs_tol=0.0)
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_gives_the_numbers_that_are_kept(optimizer, inputs, tmp_path):
    found, file = measure(optimizer, inputs, tmp_path), GOLDEN / f"{optimizer}.json"
    if os.environ.get("DNATUNE_GOLDEN") == "remake":
        write_json(file, found)
        pytest.skip(f"{file.name} is made again")
    golden = read_json(file)
    moved = differences(found, golden, exact=found["made_on"] == golden["made_on"])
    assert not moved, f"{len(moved)} numbers of {file.name} have moved:\n" + "\n".join(moved[:10])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_numbers_that_are_kept_say_something(optimizer):
    golden = read_json(GOLDEN / f"{optimizer}.json")
    losses = golden["losses"]
    assert golden["steps"] == len(losses) == STEPS
    assert golden["gradient_evaluations"] == STEPS * STAGES[optimizer]
    assert len(golden["log_probabilities"]) == SIMULATED["test_size"]
    # Each step has its own loss, and the run has learnt.
    assert min(abs(a / b - 1) for a, b in itertools.pairwise(losses)) > 10 * RTOL
    assert losses[-1] < 0.9 * losses[0]
    # All begin with the same weights and batch; after the first update no two of them go the same way.
    for other in OPTIMIZERS.keys() - {optimizer}:
        theirs = read_json(GOLDEN / f"{other}.json")["losses"]
        assert theirs[0] == pytest.approx(losses[0], rel=RTOL)
        assert max(abs(a / b - 1) for a, b in zip(losses, theirs, strict=True)) > 10 * RTOL


@pytest.mark.parametrize("change", [1e-3, -1e-3])
@pytest.mark.parametrize("place", ["losses", "dev_losses", "gradient_norms"])
def test_a_number_that_moves_by_a_thousandth_is_seen(place, change):
    golden = read_json(GOLDEN / "rk4.json")
    moved = copy.deepcopy(golden)
    moved[place][-1] *= 1 + change
    assert not differences(golden, golden, exact=True)
    assert [line.split(":")[0] for line in differences(moved, golden, exact=False)] == [
        f"/{place}/{len(golden[place]) - 1}"
    ]
    moved[place][-1] = math.nextafter(golden[place][-1], math.inf)
    assert differences(moved, golden, exact=True) and not differences(moved, golden, exact=False)
