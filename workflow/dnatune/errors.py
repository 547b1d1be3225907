"""The errors of dnatune: each says what is wrong, where, and what to do."""

import errno
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

#: System errors of a full disk, and the corresponding messages of torch and safetensors.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
_NOT_WRITTEN = (
    "No space left on device",
    "Disk quota exceeded",
    "PytorchStreamWriter failed",
    r"inline_container.*unexpected pos \d+ vs \d+",
)
#: Messages of torch if memory runs out, besides its own class of errors.
_NO_MEMORY = ("DefaultCPUAllocator: ", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_WORKFLOW = Path(__file__).resolve().parents[1]


class DnatuneError(Exception):
    """A problem that the user can solve.

    Args:
        what: the problem, in one sentence without a full stop.
        where: file, row or configuration key with the problem.
        fix: what to do.
    """

    #: Exit status of a stage that ends with this error; each class has its own.
    exit_status = 2
    #: Whether the job is about to end, so that what else it has to do is left for another.
    ends_job = False

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
    """A value of the configuration or site that makes no sense."""

    exit_status = 2


class DataError(DnatuneError):
    """Input data that do not follow their contract."""

    exit_status = 3


class ModelError(DnatuneError):
    """A model or tokenizer that cannot be used as configured."""

    exit_status = 4


class DownloadError(DnatuneError):
    """A download that failed or arrived damaged."""

    exit_status = 5


class RunError(DnatuneError):
    """A run of training, merging or scoring that cannot continue."""

    exit_status = 6


class Interrupted(DnatuneError):  # noqa: N818, for it is none
    """A run that was saved early because its job was about to end; if it is started again, it resumes.

    Args:
        what, where, fix: as for every error.
        step: the last step of the saved run.
    """

    exit_status = 85
    ends_job = True

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None, step: int | None = None):
        super().__init__(what, where=where, fix=fix)
        self.step = step


#: Characters of a wrong value that a message shows.
_MOST_SHOWN = 80


def shown(value: object) -> str:
    """Return a value for a message, cut after 80 characters."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


#: Errors that would occur again, because the configuration, the data or the model is wrong. A failed download or a
#: failed run may succeed the next time.
REPEATING = (ConfigurationError, DataError, ModelError)


def run_script(main: Callable[[], None], outcome: Path | None = None) -> None:
    """Run a stage's `main` and exit with 0, or with the error's status and message instead of a traceback.

    A rank that the launcher started passes its message to the launcher, which prints the message of the first failure.

    Args:
        main: the stage.
        outcome: file to write if the stage fails; None to write no file.
    """
    from dnatune import outcomes

    # Users do not need the libraries' announcements of future changes.
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


def explained(error: Exception) -> DnatuneError:
    """Return an error as one of dnatune's, which can be told to another process."""
    return error if isinstance(error, DnatuneError) else _exhausted(error) or _unexpected(error)


def _unexpected(error: Exception) -> RunError:
    said = (str(error).strip() or "no message").splitlines()[0][:300]
    return RunError(
        f"unexpected {type(error).__name__}: {said}",
        where=_place(error),
        fix="read the traceback at the end of the log; if your input is right, report it as a fault of dnatune",
    )


def _exhausted(error: Exception) -> RunError | None:
    """Return an error that explains a lack of memory, disk space or rights; None if the error has another cause."""
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
    if isinstance(error, OSError) and error.errno in _FORBIDDEN:
        return RunError(
            f"the system refuses access to a file: {said}",
            where=_place(error),
            fix="see who owns the file and its folder, and whether the file system is read-only (ls -ld, mount)",
        )
    return None


def memory_ended(error: BaseException) -> bool:
    """Return whether an error of Python, CUDA or torch means that memory ran out; torch itself is not needed."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in _NO_MEMORY)


def _disk_ended(error: Exception) -> bool:
    """Return whether an error of the system, torch or safetensors means that the disk is full."""
    if isinstance(error, OSError):
        return error.errno in _FULL
    if type(error).__name__ not in ("RuntimeError", "SafetensorError"):
        return False
    return any(re.search(pattern, str(error)) for pattern in _NOT_WRITTEN)


def _place(error: Exception) -> str | None:
    """Return the innermost line of dnatune in an error's traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_WORKFLOW)]
    return f"{Path(own[-1].filename).relative_to(_WORKFLOW)}, line {own[-1].lineno}, {own[-1].name}" if own else None
