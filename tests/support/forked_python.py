"""A Python whose processes are forks of one that has imported the libraries, because importing takes most of a stage.

They differ from processes of Python in what an interpreter does once, while it starts: they have one thread, and the
libraries have read their environment variables already. Python itself starts a process that has other variables of
those (`fork_server.READ_AT_START`), and every process of a machine with a GPU.
"""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_SUPPORT = Path(__file__).resolve().parent
_WORKFLOW = _SUPPORT.parents[1] / "workflow"


@functools.cache
def interpreter() -> Path:
    """Return a program that is called as Python is: `-m MODULE …` or `FILE …`.

    The first call in a process starts the server behind it, which ends with that process.
    """
    folder = Path(tempfile.mkdtemp(prefix="forked-python-"))
    program, address = folder / "bin/python", folder / "server"
    program.parent.mkdir()
    # Not by way of a shell, which would drop variables such as a function of bash.
    program.write_text(
        f"#!{sys.executable} -IS\n"
        f"import sys\nsys.path.insert(0, {str(_SUPPORT)!r})\nimport fork_client\nfork_client.main({str(address)!r})\n",
        "utf-8",
    )
    program.chmod(0o755)
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    path = {"PYTHONPATH": os.pathsep.join(map(str, (_WORKFLOW, _SUPPORT))), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1"}
    server = subprocess.Popen(
        [sys.executable, str(_SUPPORT / "fork_server.py"), str(address), str(program)],
        env={**os.environ, **one_thread, **path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(_stop, server, folder)
    assert server.stdout.readline(), "the server of forks did not start"
    return program


def stage(*words: str | Path) -> list[str | Path]:
    """Return the command that runs a stage, `python -m dnatune …`, by that program."""
    return [interpreter(), "-m", "dnatune", *words]


def _stop(server: subprocess.Popen, folder: Path) -> None:
    server.stdin.close()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)
