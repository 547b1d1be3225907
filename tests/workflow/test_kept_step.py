"""`training.keep: best_dev`: the adapter is that of the step with the lowest dev loss.

With a constant learning rate the first steps of a run do not depend on how many follow. So a shorter run that ends at
the kept step, and keeps its last, must end with the same adapter to the last byte.
"""

import os
import signal

import pytest
from test_chain import json_lines, json_of

from dnatune.files import sha256_of_file
from workflow_runs import copied, said, small, wait_for

#: A run over 16 examples first learns to answer, then learns its examples by heart: the dev loss falls and rises.
EXAMPLES, STEPS = 16, 80
RATE = {"optimizers": {"adamw": {"learning_rate": 0.01}, "wild": None}}
CONSTANT = {"schedule": "constant", "warmup_ratio": 0.0, "evaluation_steps": 8, "save_steps": 5}


@pytest.fixture
def train(chain, start_training, tmp_path):
    """Return a function that trains to the end in a folder of that name, or returns the process."""
    few = few_examples(chain, tmp_path)

    def start(name, keep, steps=STEPS, ranks=1, wait=True, **training):
        settings = {**CONSTANT, "keep": keep, **training}
        process = start_training(tmp_path / name, ranks, train=few, training=settings, budget={"steps": steps}, **RATE)
        return said(process) if wait else process

    return start


@pytest.fixture(scope="module")
def best(chain, start_training, tmp_path_factory):
    """The folder of a run on one rank that has kept its best step."""
    folder = tmp_path_factory.mktemp("best")
    settings = {"training": {**CONSTANT, "keep": "best_dev"}, "budget": {"steps": STEPS}, **RATE}
    said(start_training(folder, train=few_examples(chain, folder), **settings))
    return folder


def few_examples(chain, folder):
    """Write the first examples of the training split; return their file."""
    lines = (chain.results / "prepare/prom_core_all/train.jsonl").read_text("utf-8").splitlines(keepends=True)
    few = folder / "train.jsonl"
    few.write_text("".join(lines[:EXAMPLES]), "utf-8")
    return few


def adapter(folder):
    """Return the hash of the weights that a run has published."""
    return sha256_of_file(folder / "adapter/adapter_model.safetensors")


def losses(folder):
    """Return the dev losses of a run by step."""
    return {row["step"]: row["dev_loss"] for row in json_lines(folder / "training.jsonl") if "dev_loss" in row}


def ends_at_its_best(folder):
    """Return the step that a run has kept, which is neither the first that was scored nor the last."""
    record, found = json_of(folder / "run.json"), losses(folder)
    assert list(found) == [*range(8, STEPS + 1, 8)]
    kept = min(found, key=found.get)
    assert 8 < record["kept_step"] == kept < record["steps"] == STEPS
    return kept


def test_the_adapter_is_that_of_a_run_which_ends_at_the_best_step(train, best, tmp_path):
    kept = ends_at_its_best(best)
    train("short", "last", steps=kept)
    assert json_of(tmp_path / "short/run.json")["kept_step"] == kept
    assert adapter(best) == adapter(tmp_path / "short")


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_so_it_is_on_two_ranks(train, tmp_path, stage):
    train("best", "best_dev", ranks=2, zero_stage=stage)
    train("short", "last", steps=ends_at_its_best(tmp_path / "best"), ranks=2, zero_stage=stage)
    assert adapter(tmp_path / "best") == adapter(tmp_path / "short")


def test_what_is_kept_does_not_change_the_training(train, best, tmp_path):
    train("last", "last")
    last = tmp_path / "last"
    assert losses(best) == losses(last)
    logs = [[row["loss"] for row in json_lines(folder / "training.jsonl")] for folder in (best, last)]
    assert logs[0] == logs[1]
    assert json_of(last / "run.json")["kept_step"] == STEPS
    assert adapter(best) != adapter(last)


@pytest.mark.fault
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_cut_behind_its_best_step_keeps_it(train, best, tmp_path, number):
    kept = ends_at_its_best(best)
    # A checkpoint behind the best step and before the next that is scored.
    behind = kept // 5 * 5 + 5
    assert behind < kept + 8 < STEPS
    process = train("cut", "best_dev", wait=False)
    wait_for(process, tmp_path / "cut", f"checkpoints/*/step-{behind:08d}/manifest.json")
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode and not (tmp_path / "cut/run.json").exists()
    assert "continuing from checkpoint" in train("cut", "best_dev")
    assert json_of(tmp_path / "cut/run.json")["kept_step"] == kept
    assert adapter(tmp_path / "cut") == adapter(best)


def test_both_stand_side_by_side_and_a_rate_is_chosen_by_the_step_that_is_kept(chain, tmp_path):
    workplace = copied(chain.folder, tmp_path / "copy")
    configuration = small(
        optimizers={
            "adamw": {"learning_rate": None},
            "adamw_best": {"method": "adamw", "keep": "best_dev", "weight_decay": 0.01},
            "wild": None,
        },
        training={"evaluation_steps": 5, "schedule": "constant"},
        budget={"steps": 25},
        tuning={"trials": 2, "rates": {"adamw": [0.02, 0.1], "adamw_best": [0.02, 0.1]}, "dev_examples": 40},
    )
    workplace.complete(configuration)
    for name in ("adamw", "adamw_best"):
        place = workplace.results / f"tuning/tiny/prom_core_all/{name}"
        choice = json_of(place / "choice.json")
        for trial in choice["trials"]:
            found = losses(place / f"rate{trial['learning_rate']:g}")
            assert len(found) == (5 if name == "adamw_best" else 1)
            assert trial["dev_loss"] == min(found.values())
    record = json_of(workplace.results / "finetune/tiny/prom_core_all/adamw_best/seed3/run.json")
    page = (workplace.results / "report.html").read_text("utf-8")
    assert f"keeps the best step on dev: {record['kept_step']}" in page
    # They train alike and differ in what they keep, which is what is compared.
    assert "not on equal terms" not in page
