"""Checkpoints at step boundaries, without frozen weights: complete or absent, and verified before they are read."""

import contextlib
import dataclasses
import logging
import re
import shutil
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import distributed

from dnatune.contracts import Record
from dnatune.errors import ConfigurationError, DataError
from dnatune.files import folder_hashes, put_in_place, sha256_of_file
from dnatune.launch.process_group import Rank, first_says
from dnatune.training import engine_state, resumption
from dnatune.training.record import Conditions
from dnatune.training.state_files import read_tree, write_tree
from dnatune.training.step_log import whole_steps

_LOG = logging.getLogger(__name__)
_PREFIX, _PARTIAL = "step-", ".partial"
_NAME = re.compile(rf"{_PREFIX}[0-9]{{8}}")
#: Names of folders of checkpoints: a digest of the configuration; of earlier versions, of more.
_CONFIGURATION = re.compile("[0-9a-f]{16}")
_COMMON, _OWN, _STATE, _MANIFEST = "common", "rank-{:05d}", "state.json", "manifest.json"


class Manifest(Record):
    """manifest.json of a checkpoint."""

    files: dict[str, str] = Field(min_length=1)
    """SHA-256 of every file beside the manifest, by relative path."""


class Saved(Record):
    """state.json of a checkpoint."""

    conditions: Conditions
    """Under which it was saved."""
    progress: dict[str, Any]
    """How far the run is, as `plan.Progress`."""
    rows: dict[str, Any]
    """Kind and size of its rows, as `packing.Rows`; others would round otherwise."""


@dataclasses.dataclass(frozen=True)
class Found:
    """A checkpoint to go on from.

    Attributes:
        name: of its folder.
        saved: its state.json.
        accepted: what computes otherwise than when it was saved, and was accepted.
        digest: SHA-256 of its manifest.
    """

    name: str
    saved: Saved
    accepted: list[str]
    digest: str


class Checkpoints:
    """The checkpoints of one run, in a folder named by a digest of its configuration.

    Args:
        root: the folder of the run's state; those of other configurations lie beside this run's.
        limit: number of checkpoints to keep; the oldest are deleted.
        rank: this process; the first rank renames and deletes.
        conditions: of the run.

    Attributes:
        folder: the folder of this configuration.
        log: its training.jsonl.
    """

    def __init__(self, root: Path, limit: int, rank: Rank, conditions: Conditions):
        self.root, self.limit, self.rank, self.conditions = root, limit, rank, conditions
        self.folder = root / conditions.configuration
        self.log = self.folder / "training.jsonl"

    def save(self, engine: Any, step: int, progress: dict[str, Any], rows: dict[str, Any]) -> None:
        """Save the state of all ranks as `step-<n>`; called by every rank.

        The folder gets this name only after every file is on disk, together with the hashes that `find` checks.
        """
        name = f"{_PREFIX}{step:08d}"
        partial = self.folder / f"{name}{_PARTIAL}"
        if self.rank.first:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        distributed.barrier()
        common, own = engine_state.take(engine)
        write_tree(partial, _OWN.format(self.rank.index), own)
        if self.rank.first:
            write_tree(partial, _COMMON, common)
            Saved(conditions=self.conditions, progress=progress, rows=rows).write(partial / _STATE)
        distributed.barrier()
        if self.rank.first:
            Manifest(files=folder_hashes(partial)).write(partial / _MANIFEST)
            put_in_place(partial, self.folder / name)
            # Those ahead are damaged, or the log of their steps is lost: the run went back before them.
            there = _complete(self.folder)
            kept = [path for path in there if path.name <= name][-self.limit :]
            for path in there:
                if path not in kept:
                    shutil.rmtree(path)
        distributed.barrier()

    def find(self, accept: bool = False) -> Found | None:
        """Return the newest undamaged checkpoint whose steps the log holds; None if the run begins at step 0.

        Called by every rank, before what takes time. State of other configurations is kept until this run is complete,
        and state that no configuration can use is removed; the log says so.

        Args:
            accept: whether a run that other code has begun may go on.

        Raises:
            ConfigurationError: the checkpoint is of other code, or of another number of ranks or precision.
        """
        refused, chosen = first_says(self._choose_or_refuse(accept) if self.rank.first else None, self.rank)
        if refused:
            raise ConfigurationError(refused["what"], where=refused["where"], fix=refused["fix"])
        if chosen is None:
            return None
        name, accepted = chosen
        place = self.folder / name
        return Found(name, Saved.read(place / _STATE), accepted, sha256_of_file(place / _MANIFEST))

    def load(self, engine: Any, found: Found) -> None:
        """Give the engine the state of a checkpoint; called by every rank."""
        place = self.folder / found.name
        engine_state.put_back(engine, read_tree(place, _COMMON), read_tree(place, _OWN.format(self.rank.index)))
        _LOG.info("continuing from checkpoint %s", found.name)

    def _choose_or_refuse(self, accept: bool) -> tuple[dict[str, Any] | None, tuple[str, list[str]] | None]:
        """Return a refusal, which all ranks raise together: those that one of them has left end in a traceback."""
        try:
            return None, self._choose(accept)
        except ConfigurationError as error:
            return vars(error), None

    def _choose(self, accept: bool) -> tuple[str, list[str]] | None:
        # Only its user may read the state, or write what is later loaded.
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._tell_of_others()
        saved, logged = _complete(self.folder), whole_steps(self.log)
        for path in reversed(saved):
            if int(path.name.removeprefix(_PREFIX)) > logged:
                _LOG.warning("%s has only %d whole steps: checkpoint %s is skipped", self.log, logged, path.name)
            elif found := _read(path):
                changes = resumption.accepted_changes(found.conditions, self.conditions, accept, self.folder)
                if changes:
                    _LOG.warning("the run goes on although it was begun otherwise: %s", "; ".join(changes))
                return path.name, changes
        if saved:
            _LOG.warning("training starts at step 0: no checkpoint in %s can be used", self.folder)
        return None

    def _tell_of_others(self) -> None:
        for folder in _configurations(self.root):
            if folder == self.folder:
                continue
            newest = next(filter(None, map(_read, reversed(_complete(folder)))), None)
            if newest is None:
                _LOG.warning("removed %s: nothing in it can be continued", folder)
                shutil.rmtree(folder)
                continue
            _LOG.warning(
                "the checkpoints in %s (step %d) are of another configuration and are not used: %s. They are kept until"
                " this run is complete",
                folder,
                newest.progress["step"],
                "; ".join(resumption.changed_configuration(newest.conditions, self.conditions)),
            )

    def clear(self) -> None:
        """Delete all checkpoints, also of other configurations, after the run is complete; by the first rank."""
        for folder in _configurations(self.root):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.root.rmdir()


def _configurations(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if _CONFIGURATION.fullmatch(path.name) and path.is_dir())


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def _read(path: Path) -> Saved | None:
    """Return state.json of a checkpoint; None, with a warning, if any of its files is damaged."""
    try:
        if folder_hashes(path) == Manifest.read(path / _MANIFEST).files:
            return Saved.read(path / _STATE)
    except (DataError, OSError):
        pass
    _LOG.warning("checkpoint %s is damaged; it is skipped", path)
    return None
