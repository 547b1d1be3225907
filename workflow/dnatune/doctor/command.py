"""Asking programs: one that is missing or hangs is an answer too."""

import contextlib
import dataclasses
import os
import signal
import subprocess
from collections.abc import Callable

#: How long a program may take to answer, in seconds.
PATIENCE = 20
#: Exit statuses that a shell gives for a program that is missing or ran out of time.
MISSING, HANGS = 127, 124


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a program said.

    Attributes:
        status: its exit status; 127: it is missing; 124: it did not answer in time.
        output: its standard output.
        complaint: its standard error, or why there is no answer.
    """

    status: int
    output: str = ""
    complaint: str = ""

    @property
    def reason(self) -> str:
        """Return the last line of the complaint, to which Slurm's programs lead up."""
        lines = self.complaint.strip().splitlines()
        return lines[-1] if lines else f"exit status {self.status}"


#: Runs a program with its arguments and returns what it said.
Ask = Callable[..., Answer]


def ask(*command: str, patience: float = PATIENCE) -> Answer:
    """Run a program and return what it said; one that is missing or hangs is an answer too.

    Args:
        command: program and arguments.
        patience: seconds.
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
        return Answer(MISSING, "", f"{command[0]}: {error.strerror}")
    try:
        output, complaint = process.communicate(timeout=patience)
        return Answer(process.returncode, output, complaint)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # One that waits for a dead file server outlives even this; it is left behind rather than waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        return Answer(HANGS, "", f"{command[0]}: no answer within {patience:g} s")
