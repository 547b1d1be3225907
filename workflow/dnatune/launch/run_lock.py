"""A lock that allows one writer per run; it names job, host and process, and shows whether its holder is alive."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnatune.errors import RunError
from dnatune.launch import slurm

_LOG = logging.getLogger(__name__)
_NAME = "run.lock"
#: Seconds between signs of life, and seconds without one after which a holder on another host counts as dead.
_BEAT, _SILENCE = 20, 300
_POLL = 5
#: Holder of a lock that says nothing of one.
_NOBODY: dict[str, Any] = {"job": None, "host": None, "process": None, "started": None}


@contextlib.contextmanager
def held(folder: Path, patience: float) -> Iterator[None]:
    """Hold a run's lock within the context.

    If another writer is alive, wait for it. If it is dead, take over its lock. A writer is dead if its Slurm job has
    ended, if its process on this host does not exist, or if it has given no sign of life for five minutes (one minute
    if it was this same job before a requeue).

    Args:
        folder: the folder of the run's state.
        patience: seconds to wait for another writer.

    Raises:
        RunError: another writer is still alive after that time.
    """
    path = folder / _NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    own = this_process()
    _acquire(path, own, patience)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, own, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        # A holder that was silent for too long may have lost the lock to a successor.
        if _read(path) == own:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _acquire(path: Path, own: dict[str, Any], patience: float) -> None:
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileNotFoundError:
            # The other writer has ended and has deleted its empty folder.
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        except FileExistsError:
            holder = _read(path)
            if holder is None:
                continue
            if not alive(holder, path):
                if _take_away(path, holder):
                    _LOG.warning("removed the lock of %s, which has ended", describe(holder))
                continue
            if time.monotonic() >= deadline:
                raise RunError(
                    f"{describe(holder)} is writing this run",
                    where=str(path),
                    fix="wait until it ends, or end it; then start again",
                ) from None
            if not told:
                _LOG.warning("waiting: %s is writing this run", describe(holder))
                told = True
            time.sleep(min(_POLL, max(0.1, deadline - time.monotonic())))
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(own, stream)
        return


def _take_away(path: Path, holder: dict[str, Any]) -> bool:
    """Remove a dead holder's lock, unless another waiting process has already replaced it."""
    aside = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return False
    found = _read(aside)
    if found != holder:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()
    return found == holder


def this_process() -> dict[str, Any]:
    """Return this process as the holder of a lock."""
    process = os.getpid()
    job, host = os.environ.get("SLURM_JOB_ID"), socket.gethostname()
    return {"job": job, "host": host, "process": process, "started": _started(process), "processes": _processes()}


def _processes() -> int | None:
    """Return the number of the set of processes that this one sees; containers of one host have sets of their own."""
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return None


def _started(process: int) -> str | None:
    """Return the start time of a process on this host in clock ticks; None if it cannot be read."""
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _read(path: Path) -> dict[str, Any] | None:
    """Return the holder; None if the lock does not exist. Wait for a lock that is still being written."""
    for _ in range(50):
        try:
            holder = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            time.sleep(0.1)
            continue
        return holder if _is_holder(holder) else _NOBODY
    # Writing one line does not take five seconds, so the writer has died.
    return _NOBODY


def _is_holder(found: Any) -> bool:
    """Return whether a lock holds what `this_process` writes; any other content is not ours and belongs to nobody."""
    kinds = (str, int, type(None))
    # Earlier versions wrote no `processes`.
    known = isinstance(found, dict) and _NOBODY.keys() <= found.keys() <= {*_NOBODY, "processes"}
    return known and all(isinstance(value, kinds) for value in found.values())


def describe(holder: dict[str, Any]) -> str:
    """Return a description of a holder."""
    if holder == _NOBODY:
        return "an unknown writer"
    job = f"Slurm job {holder['job']}, " if holder["job"] else ""
    return f"{job}process {holder['process']} on {holder['host']}"


def writer_of(folder: Path) -> str | None:
    """Return a description of the living holder of the lock of a run's state; None if nobody has it."""
    path = folder / _NAME
    holder = _read(path)
    return describe(holder) if holder and alive(holder, path) else None


def is_local(holder: dict[str, Any]) -> bool:
    """Return whether this process would see the holder if it lived."""
    own = this_process()
    # Earlier versions wrote no `processes`.
    seen = holder["host"] == own["host"] and holder.get("processes", own["processes"]) == own["processes"]
    return seen and own["started"] is not None


def has_ended(holder: dict[str, Any]) -> bool:
    """Return whether a holder on this host has ended; the number of its process may have been given to another."""
    started = _started(holder["process"])
    return started is None or holder["started"] not in (None, started)


def alive(holder: dict[str, Any], path: Path) -> bool:
    """Return whether the holder of a lock can still write."""
    own = this_process()
    if holder["host"] is None:
        return False
    if is_local(holder):
        if has_ended(holder):
            return False
        if holder["job"] in (None, own["job"]):
            return True
    if holder["job"] and holder["job"] == own["job"]:
        # This job was requeued. Its earlier instance has ended, or still runs on a node that Slurm has lost.
        return _beating(path, 3 * _BEAT)
    if holder["job"]:
        state = slurm.job_state(holder["job"])
        if state is not None:
            return state in ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED")
    return _beating(path, _SILENCE)


def _beating(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime < seconds
    except FileNotFoundError:
        return False


def _beat(path: Path, own: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(_BEAT):
        with contextlib.suppress(OSError):
            if _read(path) == own:
                os.utime(path)
