"""One family of errors: each says what was wrong, where, and what to do about it."""

import errno
import json
import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

#: System errors of a disk that is full, and what torch and safetensors say where they write.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITTEN = ("No space left on device", "Disk quota exceeded", "PytorchStreamWriter failed", "unexpected pos")


class DnatuneError(Exception):
    """Something the user can put right.

    Args:
        what: the problem, in one sentence without a full stop.
        where: file, row or configuration key it was met at.
        fix: what to do.
    """

    #: Exit status of a script that ends with this error; one a class, so that a caller can tell them apart.
    exit_status = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None):
        self.what, self.where, self.fix = what, where, fix
        super().__init__(what)

    def __str__(self) -> str:
        """Return the whole message on up to three lines."""
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(lines)


class ConfigurationError(DnatuneError):
    """A configuration or site value that cannot be meant."""

    exit_status = 2


class DataError(DnatuneError):
    """Input data that do not keep their contract."""

    exit_status = 3


class ModelError(DnatuneError):
    """A model or tokenizer that cannot be used as asked."""

    exit_status = 4


class DownloadError(DnatuneError):
    """Something that could not be fetched, or arrived damaged."""

    exit_status = 5


class RunError(DnatuneError):
    """A training, merging or scoring run that cannot go on."""

    exit_status = 6


class Interrupted(DnatuneError):  # noqa: N818, for it is none
    """A run that was saved before its end because its job was about to end; started again, it goes on."""

    exit_status = 85


def would_repeat(log: str) -> bool:
    """Tell from a failed script's log whether it would only fail again: its configuration, data or model is at fault.

    What could not be fetched, and a run that broke, may go well the next time.
    """
    kinds = "|".join(error.__name__ for error in (ConfigurationError, DataError, ModelError))
    return re.search(rf"^dnatune: (?:{kinds}): ", log, re.MULTILINE) is not None


def was_interrupted(log: str) -> bool:
    """Tell from a failed script's log whether the run was saved before its end, so that it only has to go on."""
    names = re.findall(r"^dnatune: (\w+): ", log, re.MULTILINE)
    return names[-1:] == [Interrupted.__name__]


def run_script(main: Callable[[], None]) -> None:
    """Run a script's `main` and exit: 0, or the error's status with its message instead of a traceback.

    A rank that the launcher started hands its message to the launcher instead, which prints that of the first to fail.
    """
    # What libraries announce about their own future is not the reader's business.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        main()
        return
    except DnatuneError as error:
        failure = error
    except Exception as error:
        failure = _exhausted(error)
        if failure is None:
            raise
    message = f"dnatune: {type(failure).__name__}: {failure}"
    report = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if report:
        Path(report).write_text(json.dumps({"message": message, "timestamp": str(int(time.time()))}), "utf-8")
    else:
        print(f"\n{message}", file=sys.stderr, flush=True)
    sys.exit(failure.exit_status)


def _exhausted(error: Exception) -> RunError | None:
    """Return what an error says if memory or disk was not enough, and None if it is about something else.

    torch need not be there, so its errors are told by name and text; so are those of libraries that write files.
    """
    text = str(error).strip() or type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in text:
        return RunError(
            f"memory is not enough: {text.splitlines()[0][:200]}",
            fix="see what else uses this GPU or machine (nvidia-smi, top); else more memory, a smaller model, or more "
            "ranks with a higher training.zero_stage",
        )
    if number in _FULL or any(phrase in text for phrase in _NOT_WRITTEN):
        return RunError(
            f"a file could not be written: {text.splitlines()[0][:300]}",
            fix="see whether the disk or your share of it is full (df -h, quota), make room and start again: what is "
            "complete is kept",
        )
    return None
