"""Checkpoints are whole, on disk and private; damaged ones and those that the log does not reach are passed over."""

import json
import shutil
from pathlib import Path

import pytest
from torch import distributed

from dnatune.launch.process_group import Rank
from dnatune.training.checkpoints import Checkpoints
from kills import kill_at_each_operation


class Engine:
    """Saves one file in place of DeepSpeed's, and loads it."""

    def save_checkpoint(self, folder, tag, client_state, **_):
        place = Path(folder, tag)
        place.mkdir()
        (place / "state.json").write_text(json.dumps(client_state))

    def load_checkpoint(self, folder, tag, **_):
        return None, json.loads(Path(folder, tag, "state.json").read_text())


@pytest.fixture(autouse=True)
def one_rank():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def log_of(folder, steps):
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(1, steps + 1)]
    (folder / "training.jsonl").write_text("\n".join(lines))
    return folder / "training.jsonl"


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "checkpoints/digest", 3, Rank(0, 1, "cpu"))
    assert made.load(Engine(), tmp_path / "training.jsonl") is None
    for step in (5, 10):
        made.save(Engine(), step, {"step": step})
    return made


def test_the_newest_is_loaded_and_the_oldest_are_deleted(checkpoints, tmp_path):
    for step in (15, 20):
        checkpoints.save(Engine(), step, {"step": step})
    assert checkpoints.load(Engine(), log_of(tmp_path, 30)) == {"step": 20}
    assert sorted(path.name[-2:] for path in checkpoints.folder.iterdir()) == ["10", "15", "20"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: flip(place / "state.json"),
        lambda place: (place / "state.json").write_bytes(b""),
        lambda place: (place / "state.json").unlink(),
        lambda place: (place / "manifest.json").unlink(),
        lambda place: flip(place / "manifest.json"),
        lambda place: (place / "manifest.json").write_text("[]"),
        lambda place: (place / "manifest.json").write_text('{"files": []}'),
        lambda place: (place / "manifest.json").write_bytes(b'{"files": {"\xff": ""}}'),
        lambda place: ((place / "state.json").unlink(), (place / "manifest.json").write_text('{"files": {}}')),
        lambda place: (shutil.rmtree(place), place.mkdir()),
        lambda place: (shutil.rmtree(place), place.write_text("")),
    ],
)
def test_a_damaged_one_is_passed_over_and_written_again(checkpoints, tmp_path, damage):
    damage(checkpoints.folder / "step-00000010")
    log = log_of(tmp_path, 10)
    assert checkpoints.load(Engine(), log) == {"step": 5}
    if (checkpoints.folder / "step-00000010").is_file():
        return
    checkpoints.save(Engine(), 10, {"step": "again"})
    assert checkpoints.load(Engine(), log) == {"step": "again"}


def test_stray_files_are_passed_over(checkpoints, tmp_path):
    for name in ("step-", "step-99", "step-00000099.partial", "step-00000099.old", "step-0000009x"):
        (checkpoints.folder / name).mkdir()
    (checkpoints.folder / "step-00000098").write_text("")
    assert checkpoints.load(Engine(), log_of(tmp_path, 100)) == {"step": 10}


def test_a_log_that_is_behind_takes_the_checkpoint_that_it_fits(checkpoints, tmp_path, caplog):
    assert checkpoints.load(Engine(), log_of(tmp_path, 9)) == {"step": 5}
    assert "only 9 whole steps: checkpoint step-00000010 is skipped" in caplog.text
    assert checkpoints.load(Engine(), log_of(tmp_path, 4)) is None


def test_a_save_that_is_killed_leaves_the_checkpoints_before_it(checkpoints, tmp_path, monkeypatch):
    # The threads of gloo do not live on in the processes that are killed.
    monkeypatch.setattr(distributed, "barrier", lambda: None)
    log = log_of(tmp_path, 20)
    for number in kill_at_each_operation(lambda: checkpoints.save(Engine(), 15, {"step": 15})):
        assert checkpoints.load(Engine(), log) in ({"step": 10}, {"step": 15}), number
    assert number > 5
    assert checkpoints.load(Engine(), log) == {"step": 15}


def test_nobody_else_may_enter(checkpoints):
    assert checkpoints.folder.stat().st_mode & 0o777 == 0o700
