"""What stands for Python in tests ends as Python does, and is Python where a fork would be something else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import forked_python


@pytest.fixture
def start(tmp_path):
    """A function that starts a program."""

    def begin(text, *words, **variables):
        program = tmp_path / "program.py"
        program.write_text(text, "utf-8")
        command = [forked_python.interpreter(), program, *words]
        environment = {**os.environ, **variables}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    return begin


SAYS = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['ONE'], sys.executable)"


def test_a_fork_has_the_arguments_folder_and_environment_of_its_client(start, tmp_path):
    said, _ = start(SAYS, "a b", "-c", ONE="1").communicate()
    assert said == f"['a b', '-c'] {tmp_path} 1 {forked_python.interpreter()}\n"


def test_another_variable_that_libraries_read_at_their_import_needs_python_itself(start):
    said, _ = start(SAYS, ONE="1", HF_HOME="elsewhere").communicate()
    assert said.endswith(f" 1 {sys.executable}\n")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('no')", 1),
        ("1 / 0", 1),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("import atexit, os; atexit.register(os._exit, 5)", 5),
    ],
)
def test_it_ends_as_the_program_does(start, text, code):
    process = start(text)
    process.communicate()
    assert process.returncode == code


WAITS = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(start, number):
    process = start(WAITS)
    fork = int(process.stdout.readline())
    process.send_signal(number)
    assert process.wait(30) == -number
    ends = time.monotonic() + 30
    while Path(f"/proc/{fork}").exists():
        assert time.monotonic() < ends
        time.sleep(0.01)
