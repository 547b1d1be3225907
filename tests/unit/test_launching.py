"""Ranks start, meet and fail with the message of the first to fail."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from dnatune import launching
from dnatune.errors import ModelError, RunError
from samples import ROOT

PREAMBLE = f"""
import os, sys
sys.path.insert(0, {str(ROOT / "workflow/scripts")!r})
from dnatune.errors import ModelError, run_script
rank = int(os.environ["RANK"])
"""


def script(tmp_path, body):
    path = tmp_path / "rank.py"
    path.write_text(PREAMBLE + body)
    return path


def launch(path, ranks):
    command = [sys.executable, ROOT / "workflow/scripts/launch.py", "--ranks", str(ranks), path]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_first_failure_is_told_once_with_its_exit_status(tmp_path):
    done = launch(
        script(
            tmp_path,
            """
def main():
    if rank == 1:
        raise ModelError("the model is odd", where="model/", fix="take another")
    import time
    time.sleep(60)
run_script(main)
""",
        ),
        2,
    )
    assert done.returncode == ModelError.exit_status
    assert done.stderr.count("the model is odd") == 1
    assert "where: model/" in done.stderr and "to do: take another" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_rank_is_told(tmp_path):
    done = launch(script(tmp_path, "import signal\nos.kill(os.getpid(), signal.SIGKILL)\n"), 1)
    assert done.returncode == RunError.exit_status
    assert "ended by signal 9" in done.stderr and "Traceback" not in done.stderr


def test_a_launcher_that_is_told_to_end_takes_its_ranks_along(tmp_path):
    body = f"import time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    command = [sys.executable, ROOT / "workflow/scripts/launch.py", "--ranks", "1", script(tmp_path, body)]
    launcher = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    launcher.terminate()
    said = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == RunError.exit_status
    assert "told to end by signal 15" in said and "Traceback" not in said
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_an_exit_status_is_passed_on(tmp_path):
    done = launch(script(tmp_path, "sys.exit(77)\n"), 1)
    assert done.returncode == 77


def test_every_rank_runs_with_its_place(tmp_path):
    body = f"open({str(tmp_path)!r} + f'/{{rank}}-of-' + os.environ['WORLD_SIZE'], 'w').close()\n"
    assert launch(script(tmp_path, body), 3).returncode == 0
    assert sorted(path.name for path in tmp_path.glob("*-of-*")) == ["0-of-3", "1-of-3", "2-of-3"]


def test_a_process_that_nobody_launched_is_told_how(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RunError, match="not started as a rank") as caught:
        launching.join(10)
    assert "launch.py" in caught.value.fix
