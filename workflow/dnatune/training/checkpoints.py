"""Checkpoints at step boundaries, without frozen weights: complete or absent, and verified before they are read."""

import contextlib
import logging
import re
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import distributed

from dnatune.contracts import Record
from dnatune.errors import DataError
from dnatune.files import folder_hashes, put_in_place
from dnatune.launch.process_group import Rank, first_says
from dnatune.training.step_log import whole_steps

_LOG = logging.getLogger(__name__)
_PREFIX, _PARTIAL = "step-", ".partial"
_NAME = re.compile(rf"{_PREFIX}[0-9]{{8}}")


class Manifest(Record):
    """manifest.json of a checkpoint."""

    files: dict[str, str] = Field(min_length=1)
    """SHA-256 of every file beside the manifest, by relative path."""


class Checkpoints:
    """The checkpoints of one run in one folder.

    Args:
        folder: `checkpoints/<digest>`; the digest covers everything that must be equal for a run to resume.
        limit: number of checkpoints to keep; the oldest are deleted.
        rank: this process; the first rank renames and deletes.
    """

    def __init__(self, folder: Path, limit: int, rank: Rank):
        self.folder, self.limit, self.rank = folder, limit, rank

    def save(self, engine: Any, step: int, state: dict[str, Any]) -> None:
        """Save the state of all ranks as `step-<n>`; called by every rank.

        The folder gets this name only after every file is on disk, together with the hashes that `load` checks.
        """
        name = f"{_PREFIX}{step:08d}"
        partial = self.folder / f"{name}{_PARTIAL}"
        if self.rank.first:
            shutil.rmtree(partial, ignore_errors=True)
        distributed.barrier()
        engine.save_checkpoint(
            str(self.folder),
            tag=partial.name,
            client_state=state,
            save_latest=False,
            exclude_frozen_parameters=True,
        )
        distributed.barrier()
        if self.rank.first:
            Manifest(files=folder_hashes(partial)).write(partial / "manifest.json")
            put_in_place(partial, self.folder / name)
            for old in self._complete()[: -self.limit]:
                shutil.rmtree(old)
        distributed.barrier()

    def load(self, engine: Any, log: Path) -> dict[str, Any] | None:
        """Load the newest undamaged checkpoint whose steps the log holds; called by every rank.

        Args:
            engine: takes the state.
            log: training.jsonl. After a power failure it may be behind a checkpoint.

        Returns:
            The state given to `save`, or None if there is no such checkpoint.
        """
        chosen = first_says(self._newest(log) if self.rank.first else None, self.rank)
        if chosen is None:
            return None
        _, state = engine.load_checkpoint(
            str(self.folder), tag=chosen, load_module_strict=False, load_lr_scheduler_states=False
        )
        _LOG.info("continuing from checkpoint %s", chosen)
        return state

    def _newest(self, log: Path) -> str | None:
        """Return the name of the checkpoint to load, and make the folder of a run that begins."""
        # Only its user may read the state, or write what is later loaded.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        logged = whole_steps(log)
        for path in reversed(self._complete()):
            if int(path.name.removeprefix(_PREFIX)) > logged:
                _LOG.warning("%s has only %d whole steps: checkpoint %s is skipped", log, logged, path.name)
            elif _intact(path):
                return path.name
        return None

    def clear(self) -> None:
        """Delete all checkpoints after the run is complete; called by the first rank."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    def _complete(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def _intact(path: Path) -> bool:
    try:
        intact = folder_hashes(path) == Manifest.read(path / "manifest.json").files
    except (DataError, OSError):
        intact = False
    if not intact:
        _LOG.warning("checkpoint %s is damaged; it is skipped", path)
    return intact
