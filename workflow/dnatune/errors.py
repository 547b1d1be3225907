"""One family of errors: each says what was wrong, where, and what to do about it."""

import errno
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

#: System errors of a disk that is full, and what torch and safetensors say where they write.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITTEN = (
    "No space left on device",
    "Disk quota exceeded",
    "PytorchStreamWriter failed",
    r"inline_container.*unexpected pos \d+ vs \d+",
)
#: What torch says, beside an error of its own for it, where memory ends.
_NO_MEMORY = ("DefaultCPUAllocator: ", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_WORKFLOW = Path(__file__).resolve().parents[1]


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
    """A run that was saved before its end because its job was about to end; started again, it goes on.

    Args:
        what, where, fix: as of every error.
        step: the last step that the saved run has done.
    """

    exit_status = 85

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None, step: int | None = None):
        super().__init__(what, where=where, fix=fix)
        self.step = step


#: Errors of a stage that would only fail in the same way again: its configuration, data or model is at fault. What
#: could not be fetched, and a run that broke, may go well the next time.
REPEATING = (ConfigurationError, DataError, ModelError)


def run_script(main: Callable[[], None], outcome: Path | None = None) -> None:
    """Run a stage's `main` and exit: 0, or the error's status with its message instead of a traceback.

    A rank that the launcher started hands its message to the launcher instead, which prints that of the first to fail.

    Args:
        main: the stage.
        outcome: file to write if it fails; None: the message is enough.
    """
    from dnatune import outcomes

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
            if outcome:
                outcomes.write(outcome, _unexpected(error))
            raise
    if not outcomes.leave_for_launcher(failure):
        print(f"\ndnatune: {type(failure).__name__}: {failure}", file=sys.stderr, flush=True)
        if outcome:
            outcomes.write(outcome, failure)
    sys.exit(failure.exit_status)


def _unexpected(error: Exception) -> RunError:
    said = (str(error).strip() or "no message").splitlines()[0][:300]
    return RunError(
        f"unexpected {type(error).__name__}: {said}",
        where=_place(error),
        fix="read the traceback at the end of the log; if your input is right, report it as a fault of dnatune",
    )


def _exhausted(error: Exception) -> RunError | None:
    """Return what an error says if memory or disk was not enough, and None if it is about something else."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if memory_ended(error):
        return RunError(
            f"memory is not enough: {said}",
            where=_place(error),
            fix="see what else uses this GPU or machine (nvidia-smi, top); else more memory, a smaller model, or more "
            "ranks with a higher training.zero_stage",
        )
    if _disk_ended(error):
        return RunError(
            f"a file could not be written: {said}",
            where=_place(error),
            fix="see whether the disk or your share of it is full (df -h, quota), make room and start again: what is "
            "complete is kept",
        )
    return None


def memory_ended(error: BaseException) -> bool:
    """Tell the errors of Python, of CUDA and of torch's allocators by which memory ends; torch itself is not needed."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _NO_MEMORY)


def _disk_ended(error: Exception) -> bool:
    """Tell the errors of the system, and those by which torch and safetensors pass them on."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if type(error).__name__ not in ("RuntimeError", "SafetensorError"):
        return False
    return any(re.search(pattern, str(error)) for pattern in _NOT_WRITTEN)


def _place(error: Exception) -> str | None:
    """Return the innermost of our own lines that an error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_WORKFLOW)]
    return f"{Path(own[-1].filename).relative_to(_WORKFLOW)}, line {own[-1].lineno}, {own[-1].name}" if own else None
