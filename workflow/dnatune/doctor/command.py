"""Runs programs; a program that is missing or hangs gives an `Output`, not an exception."""

import contextlib
import dataclasses
import os
import signal
import subprocess
from collections.abc import Callable

#: Seconds that a program may take.
PATIENCE = 20
#: Exit statuses of a missing program (as in a shell) and of one that took too long (as of timeout(1)).
MISSING, HANGS = 127, 124


@dataclasses.dataclass(frozen=True)
class Output:
    """The result of a program.

    Attributes:
        status: exit status; `MISSING` or `HANGS` if the program is missing or took too long.
        stdout: standard output.
        stderr: standard error, or why the program gave no result.
    """

    status: int
    stdout: str = ""
    stderr: str = ""

    @property
    def reason(self) -> str:
        """Return the last line of standard error, where Slurm's programs give the cause."""
        lines = self.stderr.strip().splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


#: Runs a program with its arguments and returns its result.
RunProgram = Callable[..., Output]


def run_program(*command: str, patience: float = PATIENCE) -> Output:
    """Run a program and return its result, even if the program is missing or hangs.

    Args:
        command: program and arguments.
        patience: seconds that the program may take.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Output(MISSING, "", f"{command[0]}: {error.strerror}")
    try:
        stdout, stderr = process.communicate(timeout=patience)
        return Output(process.returncode, stdout, stderr)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # A process that waits for a dead file server survives even SIGKILL; do not wait for it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        return Output(HANGS, "", f"{command[0]}: no answer within {patience:g} s")
