"""How a script ends: memory that ends is told as any other error, and what nobody foresaw keeps its traceback."""

import subprocess
import sys

import pytest

from samples import ROOT

_BEGIN = "from dnatune.errors import run_script\ndef main():\n    "


def end_of(tmp_path, body):
    script = tmp_path / "script.py"
    script.write_text(f"{_BEGIN}{body}\nrun_script(main)\n", "utf-8")
    command = [sys.executable, script]
    environment = {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import torch; torch.empty(2**55)", "you tried to allocate"),
        ("import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')", "2 GiB"),
        ("bytearray(2**60)", "MemoryError"),
    ],
    ids=["processor", "GPU", "Python"],
)
def test_memory_that_ends_is_told(tmp_path, body, said):
    done = end_of(tmp_path, body)
    assert done.returncode == 6
    assert "Traceback" not in done.stderr
    assert "dnatune: RunError: memory is not enough: " in done.stderr and said in done.stderr
    assert "to do: " in done.stderr


def test_another_error_keeps_its_traceback(tmp_path):
    done = end_of(tmp_path, "raise RuntimeError('a shape is wrong')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "RuntimeError: a shape is wrong" in done.stderr


def test_a_script_without_an_error_goes_on(tmp_path):
    assert end_of(tmp_path, "pass").returncode == 0
