"""All ranks choose the same micro-batch, which fits on the rank with the least memory."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import ConfigurationError, RunError
from dnatune.model import micro_batch
from dnatune.model.shared_prefix.packing import Rows
from dnatune.settings.training import Training
from samples import ROOT

TRAIN = EncodedExamples([], [[4]] * 40, [0] * 40, [[5, 2]])
TRAINING = {
    "micro_batch_size": "auto",
    "gradient_checkpointing": "auto",
    "global_batch_size": 128,
    "zero_stage": 2,
}


@pytest.mark.parametrize(
    ("limits", "found", "sizes"),
    [([60, 60], 50, [50]), ([60, 20], 13, [50, 25, 13]), ([1, 60], 1, [50, 25, 13, 7, 4, 2, 1]), ([0, 60], 0, None)],
)
def test_it_halves_until_every_rank_has_room(tmp_path, limits, found, sizes):
    worker = ROOT / "tests/support/memory_worker.py"
    command = [
        sys.executable,
        "-m",
        "dnatune",
        "launch",
        "--ranks",
        "2",
        worker,
        "--limits",
        json.dumps(limits),
        "--folder",
        tmp_path,
    ]
    subprocess.run(list(map(str, command)), check=True, timeout=120, env=_environment())
    measured = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [m["found"] for m in measured] == [found, found]
    assert measured[0]["sizes"] == measured[1]["sizes"]
    assert sizes is None or measured[0]["sizes"] == sizes
    # Trying leaves nothing behind that the first step would add to.
    assert not any(m["gradient"] for m in measured)


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}


def fit(device="cpu", world=2, train=TRAIN, shared=True, **changes):
    return micro_batch.choose_micro_batch(
        Training(**{**TRAINING, **changes}), None, nn.Linear(1, 1), train, shared, device, world, 4
    )


class Room(nn.Module):
    """A model with memory for a limited number of examples, and for any number with gradient checkpointing."""

    supports_gradient_checkpointing = True

    def __init__(self, limit):
        super().__init__()
        self.weight, self.limit, self.recomputing = nn.Parameter(torch.ones(())), limit, False

    def get_base_model(self):
        return self

    def activation_checkpointing_enable(self, _):
        self.recomputing = True

    def activation_checkpointing_disable(self):
        self.recomputing = False

    def forward(self, batch):
        if len(batch) > self.limit and not self.recomputing:
            raise torch.OutOfMemoryError("no memory is left")
        return self.weight * torch.ones(len(batch.targets))


@pytest.mark.parametrize(("limit", "expected"), [(20, (16, False)), (8, (8, False)), (7, (64, True))])
def test_activations_are_recomputed_where_a_row_would_be_too_short_without(limit, expected, monkeypatch):
    """The prefix has 40 tokens and each example 10; with 8 examples per row, the prefix raises the cost by half."""
    monkeypatch.setattr(micro_batch.distributed, "all_reduce", lambda *_, **__: None)
    monkeypatch.setattr(micro_batch.torch.cuda, "empty_cache", lambda: None)
    # A device that is no CPU, and holds nothing.
    train = EncodedExamples([7] * 40, [[4] * 9] * 64, [0] * 64, [[5, 2]])
    monkeypatch.setattr(micro_batch, "largest_that_fits", partial(_on_cpu, micro_batch.largest_that_fits))
    room = Room(limit)
    found = micro_batch.choose_micro_batch(Training(**TRAINING), room, room, train, True, "meta", 1, 4)
    assert (found.micro_batch_size, found.recomputed) == expected


def _on_cpu(search, *arguments):
    *most, _, reserve = arguments
    return search(*most, "cpu", reserve)


def test_on_a_cpu_auto_is_a_number_and_keeps_activations():
    assert fit() == Rows(True, 20, recomputed=False)
    assert fit(world=1) == Rows(True, 40, recomputed=False)
    long = EncodedExamples([7] * 50, [[4] * 98] * 200, [0] * 200, [[5, 2]])
    assert fit(world=1, train=long) == Rows(True, 40, recomputed=False)
    assert fit(world=1, train=long, shared=False) == Rows(False, 27, recomputed=False)
    assert fit(micro_batch_size=7, gradient_checkpointing=True) == Rows(True, 7, recomputed=True)


def test_zero_3_on_gpus_needs_numbers():
    with pytest.raises(ConfigurationError, match="ZeRO 3"):
        fit(device="cuda:0", zero_stage=3)
    given = {"micro_batch_size": 3, "gradient_checkpointing": False}
    assert fit(device="cuda:0", zero_stage=3, **given) == Rows(True, 3, recomputed=False)


def test_zero_shares_what_comes_later_out_over_the_ranks():
    """For an 8B model's adapter and two vocabulary matrices with Adam, eight ranks hold 3 of 13 GB each."""
    trained = 1_070_000_000
    assert micro_batch.later_bytes(trained, 0, 8, 2) == trained * (4 + 4 * 3)
    assert micro_batch.later_bytes(trained, 2, 8, 2) == trained * 4 + -(-trained // 8) * 4 * 3
    assert micro_batch.later_bytes(trained, 1, 1, None) == trained * (4 + 4 * 6)


def test_memory_that_ends_in_training_is_told():
    with (
        pytest.raises(RunError, match="32 examples at once") as told,
        micro_batch.explain_out_of_memory(Rows(True, 32)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert "training.micro_batch_size" in told.value.fix


@pytest.mark.parametrize(
    ("chosen", "tokens", "items", "device", "expected"),
    [
        ("auto", 20, 2000, "cpu", 64),
        ("auto", 20, 8, "cpu", 64),
        ("auto", 256, 2000, "cpu", 16),
        ("auto", 10_000, 2000, "cpu", 1),
        ("auto", 20, 5920, "cuda:0", 819),
        ("auto", 20, 77, "cuda:0", 77),
        ("auto", 50_000, 77, "cuda:0", 1),
        (7, 20, 2, "cpu", 7),
        (7, 20, 2, "cuda:0", 7),
    ],
)
def test_a_batch_of_scoring_holds_a_number_of_tokens(chosen, tokens, items, device, expected):
    """On a CPU the share of the items does not count, so that the batches are the same for any number of ranks."""
    assert micro_batch.scoring_batch(chosen, tokens, items, device) == expected
