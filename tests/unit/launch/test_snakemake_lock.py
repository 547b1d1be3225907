"""A lock of Snakemake's is removed only if its holder is known to have ended and left nothing at work."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dnatune.launch import run_lock, snakemake_lock


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A function that leaves a lock and the record of a holder, this process with changes; it returns the lock."""
    monkeypatch.chdir(tmp_path)

    def leave(**changes):
        folder = tmp_path / ".snakemake"
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        (folder / "dnatune").mkdir(exist_ok=True)
        lock = folder / "locks/0.output.lock"
        lock.write_text("results/a\n", "utf-8")
        holder = {**run_lock.this_process(), **changes, "locks": {lock.name: snakemake_lock._state(lock)}}
        (folder / "dnatune/one.json").write_text(json.dumps(holder), "utf-8")
        return lock

    return leave


DEAD = {"started": "1"}


def test_the_lock_of_one_that_has_ended_is_removed_once(locked):
    lock = locked(**DEAD)
    (said,) = snakemake_lock.remove_dead()
    assert f"removed the lock of process {os.getpid()}" in said and not lock.exists()
    assert snakemake_lock.remove_dead() == []


def test_the_lock_of_one_that_lives_stays(locked):
    lock = locked()
    assert snakemake_lock.remove_dead() == [] and lock.exists()


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"processes": 1}], ids=["another host", "container"])
def test_of_one_that_cannot_be_seen_is_said_what_to_type(locked, elsewhere):
    lock = locked(**DEAD, **elsewhere)
    (said,) = snakemake_lock.remove_dead()
    assert "--unlock" in said and lock.exists()


def test_a_lock_that_another_has_made_since_stays(locked):
    lock = locked(**DEAD)
    lock.write_text("results/b\n", "utf-8")
    assert snakemake_lock.remove_dead() == [] and lock.exists()


def test_a_lock_stays_while_a_job_of_its_holder_is_at_work(locked, monkeypatch):
    lock = locked(**DEAD)
    dead = {**run_lock.this_process(), **DEAD}
    environment = {**os.environ, "DNATUNE_SNAKEMAKE": snakemake_lock._name(dead)}
    environment.pop("SLURM_JOB_ID", None)
    with subprocess.Popen([sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE) as job:
        (said,) = snakemake_lock.remove_dead()
        assert f"(kill {job.pid})" in said and lock.exists()
        job.communicate(b"\n")
    (said,) = snakemake_lock.remove_dead()
    assert "removed" in said and not lock.exists()


def test_what_is_no_record_is_passed_over(locked, tmp_path):
    lock = locked(**DEAD)
    for content in ("[]", "{", "{}", '{"locks": []}'):
        (tmp_path / ".snakemake/dnatune/one.json").write_text(content, "utf-8")
        assert snakemake_lock.remove_dead() == [] and lock.exists()


def test_a_record_names_the_locks_and_goes_with_its_process(tmp_path):
    code = (
        "import os, pathlib, types; from dnatune.launch import snakemake_lock;"
        "lock = pathlib.Path('.snakemake/locks/0.input.lock'); lock.parent.mkdir(parents=True); lock.touch();"
        "snakemake_lock.leave_record(types.SimpleNamespace(_lockfile={'input': str(lock)}));"
        "print(next(pathlib.Path('.snakemake/dnatune').iterdir()).read_text()); os.chdir('/')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert list(json.loads(done.stdout)["locks"]) == ["0.input.lock"]
    assert [*(tmp_path / ".snakemake/dnatune").iterdir()] == []


def test_a_persistence_without_lock_files_leaves_a_record_of_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(snakemake_lock.atexit, "register", lambda *_, **__: None)
    snakemake_lock.leave_record(SimpleNamespace())
    (record,) = (tmp_path / ".snakemake/dnatune").iterdir()
    assert json.loads(record.read_text("utf-8"))["locks"] == {}
