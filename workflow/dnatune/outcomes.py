"""outcome.json: how a process ended, for whoever started it. The one way that errors and interruptions travel."""

import json
import os
import time
from pathlib import Path

from dnatune import errors
from dnatune.errors import DnatuneError
from dnatune.files import publish_file

#: Environment variable with the path of the file that a process leaves for its launcher.
OUTCOME_FILE = "DNATUNE_OUTCOME_FILE"
#: Environment variable with the process number of the launcher that started a rank.
LAUNCHER = "DNATUNE_LAUNCHER"


def beside(log: Path) -> Path:
    """Return the path of the outcome of the stage that writes a log."""
    return log.with_suffix(".outcome.json")


def launched() -> bool:
    """Tell whether dnatune's own launcher started this process; what another launcher has set does not count."""
    return os.environ.get(LAUNCHER) == str(os.getppid())


def write(path: Path, failure: DnatuneError) -> None:
    """Write how a process ended.

    The file holds `kind` (the name of the error's class), `what`, `where`, `fix`, `exit_status` and `time` (seconds
    since 1970); of an `Interrupted` run also `step`.
    """
    outcome = {
        "kind": type(failure).__name__,
        "what": failure.what,
        "where": failure.where,
        "fix": failure.fix,
        "exit_status": failure.exit_status,
        "time": time.time(),
    }
    if isinstance(failure, errors.Interrupted):
        outcome["step"] = failure.step
    with publish_file(path) as scratch:
        scratch.write_text(json.dumps(outcome, ensure_ascii=False) + "\n", "utf-8")


def read(path: Path) -> tuple[DnatuneError, float] | None:
    """Return what a process wrote and when it did, in seconds since 1970; None if it wrote nothing readable."""
    try:
        outcome = json.loads(path.read_text("utf-8"))
        kind = getattr(errors, outcome["kind"])
        if not issubclass(kind, DnatuneError):
            return None
        step = {"step": outcome["step"]} if kind is errors.Interrupted else {}
        failure = kind(outcome["what"], where=outcome["where"], fix=outcome["fix"], **step)
        failure.exit_status = outcome["exit_status"]
        return failure, outcome["time"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def leave_for_launcher(failure: DnatuneError) -> bool:
    """Leave an outcome for the launcher of this process; return False if there is none."""
    if not launched() or OUTCOME_FILE not in os.environ:
        return False
    write(Path(os.environ[OUTCOME_FILE]), failure)
    return True
