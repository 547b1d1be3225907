"""Snakemake's lock on its folder: who holds it, and its removal where its holder has certainly ended.

Snakemake does not say who holds a lock, so one that was killed leaves a lock that somebody must remove by hand. Here
each Snakemake leaves a record of itself while it works: host, process and its lock files.
"""

import atexit
import json
import os
from pathlib import Path
from typing import Any

from dnatune.launch import run_lock

#: Environment variable that names the Snakemake to which a process belongs; its jobs inherit it.
_BELONGS_TO = "DNATUNE_SNAKEMAKE"
_RECORDS, _LOCKS = Path(".snakemake/dnatune"), Path(".snakemake/locks")


def mark_jobs() -> None:
    """Make the jobs that this Snakemake will start say in their environment that they are its own."""
    os.environ[_BELONGS_TO] = _name(run_lock.this_process())


def leave_record(persistence: Any) -> None:
    """Say, until this Snakemake ends, that it holds its lock files.

    Args:
        persistence: Snakemake's own records, locked. A kind without lock files leaves a record of none.
    """
    own = run_lock.this_process()
    files = [Path(file) for file in getattr(persistence, "_lockfile", {}).values()]
    record = _RECORDS.absolute() / f"{_name(own)}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({**own, "locks": {file.name: _state(file) for file in files}}), "utf-8")
    atexit.register(record.unlink, missing_ok=True)


def remove_dead() -> list[str]:
    """Remove the lock files of Snakemakes that have ended without doing so, in the current folder.

    A lock goes only if its holder ran on this host, its process no longer exists, and neither do its jobs. Whatever is
    younger than the holder's record of it stays.

    Returns:
        What was done and, of a lock that stays, what to do about it.
    """
    said = []
    for record in sorted(_RECORDS.glob("*.json")):
        try:
            holder = json.loads(record.read_text("utf-8"))
            states = {_LOCKS / name: state for name, state in holder.pop("locks").items()}
            who, on_this_host, ended = run_lock.describe(holder), run_lock.is_local(holder), run_lock.has_ended(holder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        locks = [file for file, state in states.items() if _state(file) == state]
        if not on_this_host:
            if locks:
                said.append(
                    f"the lock of this folder belongs to {who}, which cannot be seen from here; if it has ended, type "
                    "the command once with --unlock added, then again as it is"
                )
        elif ended and locks and (jobs := _jobs_of(holder)):
            said.append(
                f"{who}, a Snakemake, has ended, and its processes {', '.join(map(str, jobs))} are still at work; wait "
                f"for them or end them (kill {' '.join(map(str, jobs))}), then type the command again"
            )
        elif ended:
            try:
                # Of two that start together, one takes the record, and only that one removes the lock.
                record.unlink()
            except OSError:
                continue
            for file in locks:
                file.unlink(missing_ok=True)
            said += [f"removed the lock of {who}, a Snakemake that has ended"] if locks else []
    return said


def _name(holder: dict[str, Any]) -> str:
    return f"{holder['host']}-{holder['process']}-{holder['started']}"


def _state(file: Path) -> list[int] | None:
    """Return what tells a lock file from a later one of the same name; None if there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return [found.st_ino, found.st_mtime_ns]


def _jobs_of(holder: dict[str, Any]) -> list[int]:
    """Return the processes of this host that a Snakemake has started; those of Slurm jobs hold locks of their own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        variables = dict(entry.split("=", 1) for entry in environment if "=" in entry)
        if variables.get(_BELONGS_TO) == _name(holder) and variables.get("SLURM_JOB_ID") == holder["job"]:
            found.append(int(folder.name))
    return sorted(found)
