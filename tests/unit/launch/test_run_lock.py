"""One writer per run: a second writer waits for a living holder or is refused; a dead holder is replaced."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from dnatune.errors import RunError
from dnatune.launch import run_lock


def lock(folder, **holder):
    folder.mkdir(exist_ok=True)
    path = folder / "run.lock"
    path.write_text(json.dumps({**run_lock.this_process(), "job": None, "started": None, **holder}))
    return path


def test_the_lock_names_its_holder_and_goes_with_its_folder(tmp_path):
    folder = tmp_path / "checkpoints"
    with run_lock.held(folder, 0):
        holder = json.loads((folder / "run.lock").read_text())
        assert holder["process"] == os.getpid() and holder["host"] and holder["job"] is None
    assert not folder.exists()


@pytest.mark.fault("two writers")
def test_a_living_writer_is_named_and_its_lock_kept(tmp_path):
    with run_lock.held(tmp_path / "run", 0), pytest.raises(RunError) as caught, run_lock.held(tmp_path / "run", 0.2):
        pytest.fail("two writers")
    assert f"process {os.getpid()}" in str(caught.value) and "run.lock" in str(caught.value)


@pytest.mark.fault("two writers")
def test_a_writer_that_ends_is_waited_for(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"])
    lock(tmp_path / "run", process=other.pid)
    began = time.monotonic()
    # Its parent must reap it when it ends.
    reaper = threading.Thread(target=other.wait)
    reaper.start()
    with run_lock.held(tmp_path / "run", 30):
        assert other.poll() is not None
        assert 1 < time.monotonic() - began < 20
    reaper.join()


@pytest.mark.fault("two writers")
@pytest.mark.parametrize(
    "holder",
    [
        {"process": 2**22 + 1},
        {"started": "1"},
        {"host": "elsewhere", "process": 1, "old": True},
        {"host": None},
    ],
    ids=["no such process", "another process of that number", "silent on another host", "never written"],
)
def test_a_dead_writers_lock_is_taken_away(tmp_path, holder, caplog):
    old = holder.pop("old", False) if isinstance(holder, dict) else False
    path = lock(tmp_path / "run", **holder)
    if old:
        os.utime(path, (1, 1))
    with run_lock.held(tmp_path / "run", 0):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert [(record.name, record.levelname) for record in caplog.records] == [(run_lock.__name__, "WARNING")]


@pytest.mark.fault("two writers")
@pytest.mark.parametrize(
    "content", ["[]", "null", "7", '"x"', "{}", '{"job": 1}', '{"job": [], "host": {}, "process": 1, "started": 2}']
)
def test_a_lock_that_names_nobody_is_taken_away(tmp_path, content, caplog):
    path = lock(tmp_path / "run")
    path.write_text(content)
    with run_lock.held(tmp_path / "run", 0):
        assert json.loads(path.read_text())["process"] == os.getpid()
    assert "removed the lock of an unknown writer" in caplog.text


def test_one_on_another_host_that_gave_a_sign_of_life_counts(tmp_path):
    lock(tmp_path / "run", host="elsewhere", process=1)
    with pytest.raises(RunError, match="on elsewhere"), run_lock.held(tmp_path / "run", 0):
        pytest.fail("two writers")


@pytest.mark.fault("two writers")
def test_a_requeued_job_takes_over_from_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    path = lock(tmp_path / "run", host="elsewhere", process=1, job="77")
    with pytest.raises(RunError, match="Slurm job 77"), run_lock.held(tmp_path / "run", 0):
        pytest.fail("a node that Slurm lost may still write for a while")
    os.utime(path, (time.time() - 70, time.time() - 70))
    with run_lock.held(tmp_path / "run", 0):
        assert json.loads((tmp_path / "run/run.lock").read_text())["job"] == "77"


def test_a_holder_that_lost_its_lock_leaves_the_successor_s(tmp_path):
    with run_lock.held(tmp_path / "run", 0):
        successor = lock(tmp_path / "run", host="elsewhere", process=1)
    assert json.loads(successor.read_text())["host"] == "elsewhere"


def test_a_lock_that_changed_hands_is_not_taken_away(tmp_path):
    path = lock(tmp_path / "run", host="elsewhere", process=1)
    dead = json.loads(path.read_text()) | {"process": 2}
    assert not run_lock._take_away(path, dead)
    assert json.loads(path.read_text())["process"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["run.lock"]


@pytest.mark.fault("two writers")
@pytest.mark.parametrize("stale", [False, True], ids=["free", "left over"])
def test_many_at_once_get_it_one_after_another(tmp_path, stale):
    if stale:
        lock(tmp_path / "run", process=2**22 + 1)
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from dnatune.launch import run_lock as runlock\n"
        "runlock._POLL = 0.05\n"
        "with runlock.held(Path(sys.argv[2]), 60):\n"
        "    busy = Path(sys.argv[3]); assert not busy.exists(); busy.touch(); time.sleep(0.1); busy.unlink()\n"
    )
    scripts = str(run_lock.__file__).rsplit("/dnatune/", 1)[0]
    command = [sys.executable, "-c", code, scripts, str(tmp_path / "run"), str(tmp_path / "busy")]
    assert [process.wait(90) for process in [subprocess.Popen(command) for _ in range(5)]] == [0] * 5
