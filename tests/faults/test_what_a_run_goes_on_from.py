"""A run goes on from its own state alone: the same configuration, code and ranks, and nothing that can be run."""

import json
import os
import pickle
import pickletools
import shutil
import zipfile

import pytest

from dnatune.files import folder_hashes
from dnatune.training.checkpoints import Manifest, Saved
from dnatune.training.record import Run
from workflow_runs import said

SHORT = {"steps": 120}
#: Names under which DeepSpeed would look for its own files.
PICKLES = ("mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt", "bf16_zero_pp_rank_0.pt")


class Poison:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def seal(place):
    """Write the manifest anew, as whoever changes a checkpoint on purpose would."""
    Manifest(files=folder_hashes(place)).write(place / "manifest.json")


def saved_by(place, code):
    """Make a checkpoint one of other code."""
    saved = Saved.read(place / "state.json")
    software = saved.conditions.software.model_copy(update={"code": code})
    conditions = saved.conditions.model_copy(update={"software": software})
    saved.model_copy(update={"conditions": conditions}).write(place / "state.json")
    seal(place)


def refusal(process):
    _, log = process.communicate(timeout=300)
    assert process.returncode == 2 and "Traceback" not in log, log
    return log


def weights(folder):
    return (folder / "adapter/adapter_model.safetensors").read_bytes()


@pytest.mark.fault("a pickle in a checkpoint")
def test_nothing_in_a_checkpoint_is_a_pickle_and_none_is_opened(start, cut, tmp_path):
    place = cut(ranks=1, budget=SHORT)
    files = [path for path in place.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    for path in files:
        assert not zipfile.is_zipfile(path)
        with pytest.raises(ValueError, match=r"pickle|opcode|decode|position"):
            list(pickletools.genops(path.read_bytes()))
    for name in PICKLES:
        (place / name).write_bytes(pickle.dumps(Poison(f"touch {tmp_path}/poisoned")))
    seal(place)
    assert f"continuing from checkpoint {place.name}" in said(start(ranks=1, budget=SHORT))
    assert not (tmp_path / "poisoned").exists() and (tmp_path / "run.json").exists()


@pytest.mark.fault("other ranks, key, code or DeepSpeed file")
def test_other_code_and_other_ranks_are_named_and_only_code_can_be_accepted(start, cut, tmp_path):
    place = cut(ranks=1, budget=SHORT)
    saved_by(place, "0123456789abcdef")
    log = refusal(start(ranks=2, budget=SHORT))
    assert "the saved run was begun otherwise: ranks: 1 → 2; code: 0123456789abcdef → " in log
    log = refusal(start(ranks=1, budget=SHORT))
    assert "the saved run was begun otherwise: code: 0123456789abcdef → " in log and "--accept-code-change" in log
    assert place.exists()
    log = said(start("--accept-code-change", ranks=1, budget=SHORT))
    assert f"continuing from checkpoint {place.name}" in log
    assert "the run goes on although it was begun otherwise: code: 0123456789abcdef" in log
    killed, last = Run.read(tmp_path / "run.json").segments
    assert killed.accepted == [] and last.accepted == [f"code: 0123456789abcdef → {last.code}"]


@pytest.mark.fault("other ranks, key, code or DeepSpeed file")
@pytest.mark.slow
def test_the_setting_accepts_as_the_option_does(start, cut, tmp_path):
    place = cut(ranks=1, budget=SHORT)
    saved_by(place, "0123456789abcdef")
    shutil.copytree(tmp_path / "checkpoints", tmp_path / "again")
    said(start("--accept-code-change", ranks=1, budget=SHORT))
    accepted, _ = weights(tmp_path), (tmp_path / "run.json").unlink()
    (tmp_path / "again").rename(tmp_path / "checkpoints")
    log = said(start(ranks=1, budget=SHORT, training={"accept_code_change": True}))
    assert f"continuing from checkpoint {place.name}" in log
    assert weights(tmp_path) == accepted


@pytest.mark.fault("other ranks, key, code or DeepSpeed file")
@pytest.mark.slow
def test_another_content_of_the_deepspeed_file_is_another_run(start, cut, tmp_path):
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"zero_optimization": {"reduce_bucket_size": 1000}}), "utf-8")
    training = {"deepspeed": str(keys)}
    place = cut(ranks=1, budget=SHORT, training=training)
    keys.write_text(json.dumps({"zero_optimization": {"reduce_bucket_size": 2000}}), "utf-8")
    log = said(start(ranks=1, budget=SHORT, training=training))
    assert "continuing from" not in log
    assert "training.deepspeed.zero_optimization.reduce_bucket_size: 1000 → 2000" in log
    # The old state went with the run's end, and the adapter is the one that this configuration gives.
    assert not place.exists() and not (tmp_path / "checkpoints").exists()
    resumed = weights(tmp_path)
    (tmp_path / "run.json").unlink()
    said(start(ranks=1, budget=SHORT, training=training))
    assert weights(tmp_path) == resumed
