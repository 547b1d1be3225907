"""What the terminal shows if jobs fail: each job in a few lines, and dnatune's own messages last.

Snakemake prints the shell's command twice, the exception of its own source line and a list of folders. Its records are
shortened here before they are printed, by a filter of the `logging` module.
"""

import atexit
import logging
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from dnatune import outcomes
from dnatune.errors import DnatuneError

#: Most messages that are printed at the end; a wrong configuration can fail hundreds of jobs alike.
_MOST_MESSAGES = 3
#: What is said of a job that left no message: something ended it from outside.
_SILENT = "it ended without a message. Signal 9 is often the system's answer to too little memory"


class FailureFilter(logging.Filter):
    """Shortens what Snakemake says of failed jobs, and remembers them.

    Args:
        folder: the working folder, if it is not the one that the terminal is in (`--directory`): relative paths would
            be wrong there.
        python: what starts Python where the jobs run, if that is a container.

    Attributes:
        failed: {jobid: (rule, log files)} of the jobs that have failed and not been done since.
    """

    def __init__(self, folder: Path | None = None, python: str | None = None) -> None:
        super().__init__()
        self._folder, self._python = folder, python
        self.failed: dict[int, tuple[str, list[Path]]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is printed."""
        event = getattr(getattr(record, "event", None), "name", None)
        if event == "JOB_ERROR":
            self._shorten(record)
        elif event == "JOB_FINISHED":
            self.failed.pop(record.__dict__.get("job_id"), None)
        elif event == "ERROR":
            repeated = record.__dict__.get("exception") == "RuleException"
            return not (repeated or (self.failed and "At least one job did not complete" in record.getMessage()))
        return True

    def _shorten(self, record: logging.LogRecord) -> None:
        told: dict[str, Any] = record.__dict__
        # Snakemake leaves the folder of `--directory` before this process ends.
        logs = [Path(str(log)).absolute() for log in told["log"]]
        self.failed[told["jobid"]] = told["rule_name"], logs
        lines = [f"Error in rule {told['rule_name']}, jobid: {told['jobid']}"]
        lines += [f"    message: {told['rule_msg']}"] if told["rule_msg"] else []
        go = f"cd {shlex.quote(str(self._folder))} && " if self._folder else ""
        lines += [f"    command: {go}{_pasted(told['shellcmd'], self._python)}"] if told["shellcmd"] else []
        lines += [f"    log: {', '.join(map(str, logs if self._folder else told['log']))}"] if logs else []
        # The job may be tried again and go well, and then nothing else tells of this failure.
        lines += [f"    reason: {type(failure).__name__}: {failure.what}" for failure in _told(logs)]
        lines += [f"    {name}: {value}" for name, value in told["aux"].items()]
        record.msg, record.args, record.event = "\n".join(lines), (), None

    def messages(self, told_to_end: bool = False) -> list[str]:
        """Return dnatune's message of each failed job, the same message once.

        Args:
            told_to_end: whether Snakemake was told to end; it has then ended the jobs that left no message.
        """
        found: dict[str, list[str]] = {}
        for rule, logs in self.failed.values():
            told = _told(logs)
            name = f"rule {rule}"
            if told:
                told[0].where = self._seen_from_anywhere(told[0].where)
                found.setdefault(f"{type(told[0]).__name__}: {told[0]}", []).append(name)
            elif not told_to_end:
                found.setdefault(f"{_SILENT}\n  to do: read {logs[0] if logs else 'its log'}", []).append(name)
        return [f"{_who(names)}: {message}" for message, names in found.items()]

    def _seen_from_anywhere(self, where: str | None) -> str | None:
        """Return a place in a file below the working folder with its whole path; another one as it is."""
        if self._folder and where and (self._folder / where.split(", ")[0]).exists():
            return str(self._folder / where)
        return where


def _told(logs: list[Path]) -> list[DnatuneError]:
    """Return what a job's stage has left beside its log, if it has."""
    return [outcome[0] for log in logs if (outcome := outcomes.read(outcomes.beside(log)))]


def _pasted(command: str, python: str | None) -> str:
    """Return a rule's command with the path of its interpreter, which a shell of the user's may not find by name."""
    own = Path(sys.executable)
    place = python or str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)
    return re.sub(r"^\s*python(?= )", lambda _: place, " ".join(command.split()))


def _who(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def watch(logger: logging.Logger, folder: Path | None = None, python: str | None = None) -> FailureFilter:
    """Shorten what a logger says of failed jobs, and return what remembers them; see `FailureFilter`."""
    watcher = FailureFilter(folder, python)
    logger.addFilter(watcher)
    return watcher


def print_at_exit(watcher: FailureFilter, told_to_end: bool) -> None:
    """Print the messages of failed jobs when this process ends, after all that Snakemake prints; see `messages`."""
    atexit.register(_print, watcher, told_to_end)


def _print(watcher: FailureFilter, told_to_end: bool) -> None:
    messages = watcher.messages(told_to_end)
    shown = messages[:_MOST_MESSAGES]
    if len(messages) > len(shown):
        shown.insert(0, f"{len(messages) - len(shown)} other messages stand in the logs above")
    sys.stderr.write("".join(f"\ndnatune: {message}\n" for message in shown))
    sys.stderr.flush()
