"""The micro-batch that fits: the same on all ranks, whichever of them has least memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from dnatune import memory
from dnatune.errors import ConfigurationError
from dnatune.prompts import EncodedExamples
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
    launcher, worker = ROOT / "workflow/scripts/launch.py", Path(__file__).with_name("memory_worker.py")
    command = [sys.executable, launcher, "--ranks", "2", worker, "--limits", json.dumps(limits), "--folder", tmp_path]
    subprocess.run(list(map(str, command)), check=True, timeout=120, env=_environment())
    measured = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [m["found"] for m in measured] == [found, found]
    assert measured[0]["sizes"] == measured[1]["sizes"]
    assert sizes is None or measured[0]["sizes"] == sizes
    # Trying leaves nothing behind that the first step would add to.
    assert not any(m["gradient"] for m in measured)


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}


def fit(device="cpu", world=2, **changes):
    return memory.fit({**TRAINING, **changes}, None, nn.Linear(1, 1), TRAIN, 4, device, world)


def test_on_a_cpu_auto_is_a_number_and_keeps_activations():
    assert fit() == memory.Fit(20, checkpointing=False)
    assert fit(world=1) == memory.Fit(32, checkpointing=False)
    assert fit(micro_batch_size=7, gradient_checkpointing=True) == memory.Fit(7, checkpointing=True)


def test_zero_3_on_gpus_needs_numbers():
    with pytest.raises(ConfigurationError, match="ZeRO 3"):
        fit(device="cuda:0", zero_stage=3)
    given = {"micro_batch_size": 3, "gradient_checkpointing": False}
    assert fit(device="cuda:0", zero_stage=3, **given) == memory.Fit(3, checkpointing=False)
