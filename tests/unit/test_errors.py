"""How a script ends: memory or disk that ends is told as other errors are; what nobody foresaw keeps its traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samples import ROOT

_BEGIN = "from dnatune.errors import run_script\ndef main():\n    "


def end_of(tmp_path, body):
    script = tmp_path / "script.py"
    script.write_text(f"{_BEGIN}{body}\nrun_script(main)\nprint('went on')\n", "utf-8")
    command = [sys.executable, script]
    environment = {"PYTHONPATH": str(ROOT / "workflow")}
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


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' device that is always full")


def assert_told(done):
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    assert "could not be written: " in done.stderr and "df -h" in done.stderr


@FULL
def test_a_full_disk_is_told(tmp_path):
    done = end_of(tmp_path, "import os; os.write(os.open('/dev/full', os.O_WRONLY), b'a line')")
    assert_told(done)
    assert "[Errno 28] No space left on device" in done.stderr


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few kilobytes."""
    if shutil.which("mount") is None:
        pytest.skip("no mount here")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@FULL
def test_torch_on_a_full_disk_is_understood(tmp_path):
    assert_told(end_of(tmp_path, "import torch; torch.save(torch.ones(10**6), '/dev/full')"))


def test_safetensors_on_a_full_disk_is_understood(tmp_path, small_disk):
    # It writes another file and moves it, so the device that is always full would not do.
    body = "import torch; from safetensors.torch import save_file; save_file({'w': torch.ones(10**6)}, "
    assert_told(end_of(tmp_path, f"{body}{str(small_disk / 'file')!r})"))


@pytest.mark.parametrize(
    "raised",
    [
        "RuntimeError('a shape is wrong')",
        "TypeError('f() got unexpected positional arguments')",
        "ValueError('unexpected position_ids of shape (1, 5)')",
        "FileNotFoundError(2, 'No such file or directory')",
    ],
)
def test_another_error_keeps_its_traceback(tmp_path, raised):
    done = end_of(tmp_path, f"raise {raised}")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and raised.split("(")[0] in done.stderr


def test_where_memory_ended_is_told(tmp_path):
    body = "import torch; from dnatune.model import flops as accounting; accounting._PEAK_SIDE = {'cpu': 2**27}; "
    done = end_of(tmp_path, body + "accounting.matmul_peak('cpu', torch.float32)")
    assert done.returncode == 6
    assert "where: dnatune/model/flops.py, line " in done.stderr


def test_a_script_without_an_error_goes_on(tmp_path):
    done = end_of(tmp_path, "pass")
    assert done.returncode == 0 and done.stdout == "went on\n"


@pytest.mark.parametrize("raised", ["OSError(30, 'Read-only file system', 'a')", "PermissionError(13, 'denied', 'a')"])
def test_missing_rights_are_explained(tmp_path, raised):
    done = end_of(tmp_path, f"raise {raised}")
    assert done.returncode == 6 and "Traceback" not in done.stderr
    assert "the system refuses access to a file: [Errno" in done.stderr and "mount" in done.stderr
