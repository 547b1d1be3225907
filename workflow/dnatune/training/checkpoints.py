"""Checkpoints at step boundaries, without frozen weights: complete or absent, and verified before they are read."""

import contextlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from torch import distributed

from dnatune.errors import DataError
from dnatune.files import folder_hashes, read_json, write_json
from dnatune.launch.process_group import Rank, first_says

_LOG = logging.getLogger(__name__)
_PARTIAL = ".partial"


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

        The folder gets this name only after every file is written, together with the hashes that `load` checks.
        """
        name = f"step-{step:08d}"
        partial = self.folder / f"{name}{_PARTIAL}"
        if self.rank.first:
            shutil.rmtree(partial, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
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
            write_json(partial / "manifest.json", {"files": folder_hashes(partial)})
            shutil.rmtree(self.folder / name, ignore_errors=True)
            partial.replace(self.folder / name)
            for old in self._complete()[: -self.limit]:
                shutil.rmtree(old)
        distributed.barrier()

    def load(self, engine: Any) -> dict[str, Any] | None:
        """Load the newest undamaged checkpoint; called by every rank.

        Returns:
            The state given to `save`, or None if there is no undamaged checkpoint.
        """
        own = (
            next((path.name for path in reversed(self._complete()) if _intact(path)), None) if self.rank.first else None
        )
        chosen = first_says(own, self.rank)
        if chosen is None:
            return None
        _, state = engine.load_checkpoint(
            str(self.folder), tag=chosen, load_module_strict=False, load_lr_scheduler_states=False
        )
        _LOG.info("continuing from checkpoint %s", chosen)
        return state

    def clear(self) -> None:
        """Delete all checkpoints after the run is complete; called by the first rank."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()

    def _complete(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(
            path for path in self.folder.iterdir() if path.name.startswith("step-") and path.suffix != _PARTIAL
        )


def _intact(path: Path) -> bool:
    try:
        expected = read_json(path / "manifest.json")["files"]
    except (DataError, json.JSONDecodeError, KeyError):
        expected = None
    intact = expected is not None and folder_hashes(path) == expected
    if not intact:
        _LOG.warning("checkpoint %s is damaged; it is skipped", path)
    return intact
