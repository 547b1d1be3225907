"""Disk space at the peak and at the end, and what lowers it."""

import pytest

from dnatune.cost import disk, model_sizes
from dnatune.cost.disk import Disk, Part, SpaceError
from dnatune.cost.model_sizes import ModelSizes
from dnatune.settings import experiment, site
from samples import ROOT
from workflow_runs import small

GB = 10**9
SIZES = {"tiny": ModelSizes(base=16 * GB, adapter=4 * GB, merged=16 * GB, trained=GB)}


def planned(tmp_path, at_once: int = 1, **changes) -> dict[str, Part]:
    configuration = experiment.resolve(small(optimizers={"wild": None}, seeds=[0, 1], **changes))
    found = disk.disk_of(configuration, site.load(ROOT, {"DNATUNE_SITE": "generic"}), SIZES, tmp_path, at_once)
    return {part.what.split(",")[0]: part for part in found.parts}


def test_kept_merged_models_last_and_others_only_while_they_are_scored(tmp_path):
    kept = planned(tmp_path)["merged models"]
    passing = planned(tmp_path, keep_merged=False)["merged models"]
    assert (kept.bytes, kept.lasting, kept.lower) == (32 * GB, True, "keep_merged: false")
    assert (passing.bytes, passing.lasting) == (16 * GB, False)


@pytest.mark.parametrize("link", [False, True])
def test_linked_weights_take_no_room(tmp_path, link):
    base = ROOT / "config/demo-base"
    directory = {"path": str(base), "link": link}
    configuration = experiment.resolve(small(models={"tiny": {"source": "directory", "directory": directory}}))
    found = model_sizes.sizes_of(configuration, "tiny", tmp_path)
    files = {path.name: path.stat().st_size for path in base.iterdir()}
    assert found.base == sum(files.values()) - link * files["model.safetensors"]
    assert found.merged > files["model.safetensors"]


@pytest.mark.parametrize(("limit", "at_once", "count"), [(3, 1, 4), (1, 1, 2), (1, 2, 4), (1, 9, 4)])
def test_of_each_run_at_work_one_more_checkpoint_than_the_limit_is_there(tmp_path, limit, at_once, count):
    """AdamW in fp32 under ZeRO 2: weights, their master copy and two moments."""
    found = planned(tmp_path, at_once, training={"save_total_limit": limit})["checkpoints"]
    assert (found.count, found.bytes, found.lasting) == (count, count * 16 * GB, False)


def test_a_half_precision_checkpoint_has_a_full_precision_copy(tmp_path):
    found = planned(tmp_path, training={"precision": "bf16", "save_total_limit": 1})["checkpoints"]
    assert found.bytes == 2 * 14 * GB


def test_what_is_there_already_needs_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 400)
    (tmp_path / "file").write_bytes(b"x" * 700)
    plan = Disk([Part("merged models", 1, 1000, lower="keep_merged: false")], [])
    disk.require_space(plan, tmp_path)
    (tmp_path / "file").write_bytes(b"x" * 500)
    with pytest.raises(SpaceError, match="1 kB of disk space") as caught:
        disk.require_space(plan, tmp_path)
    assert "set keep_merged: false" in caught.value.fix and caught.value.exit_status == 1


@pytest.mark.parametrize(("size", "said"), [(0, "0 bytes"), (1500, "1.5 kB"), (4.29e9, "4.29 GB"), (6.7e12, "6.7 TB")])
def test_bytes_are_shown_in_their_unit(size, said):
    assert disk.shown(size) == said
