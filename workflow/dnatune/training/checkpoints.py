"""Checkpoints at step boundaries, without frozen weights: complete or absent, and verified before they are read.

Training stands still while a rank copies its state to host memory. A thread of each rank writes the copy while training
goes on; threads take no part in collective operations, in which they would meet those of training. The ranks agree
between two steps that all have written, and then a thread of the first rank gives the folder its name.
"""

import contextlib
import dataclasses
import logging
import re
import shutil
import time
from concurrent import futures
from pathlib import Path
from typing import Any

from pydantic import Field

from dnatune.contracts import Record
from dnatune.errors import ConfigurationError, DataError, RunError, explained
from dnatune.files import folder_hashes, put_in_place, sha256_of_file
from dnatune.launch.process_group import Rank, exchange, first_says
from dnatune.threads import in_background
from dnatune.training import engine_state, resumption
from dnatune.training.record import Conditions
from dnatune.training.state_files import Files, HostMemory, copy_tree, read_tree, write_files
from dnatune.training.step_log import whole_steps

_LOG = logging.getLogger(__name__)
_PREFIX, _PARTIAL = "step-", ".partial"
_NAME = re.compile(rf"{_PREFIX}[0-9]{{8}}")
#: Names of folders of checkpoints: a digest of the configuration; of earlier versions, of more.
_CONFIGURATION = re.compile("[0-9a-f]{16}")
_COMMON, _OWN, _BEST, _STATE, _MANIFEST = "common", "rank-{:05d}", "best", "state.json", "manifest.json"


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


@dataclasses.dataclass(frozen=True)
class _Save:
    """A save under way.

    Attributes:
        name: of the checkpoint.
        began: when, by the monotonic clock.
        work: what this rank's thread does: first it writes, and returns the SHA-256 of its files.
        naming: whether all ranks have written, and the first one's thread gives the folder its name.
    """

    name: str
    began: float
    work: futures.Future[dict[str, str]]
    naming: bool = False


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
        self._memory = HostMemory()
        self._save: _Save | None = None

    def save(
        self, engine: Any, step: int, progress: dict[str, Any], rows: dict[str, Any], best: dict[str, Any]
    ) -> None:
        """Begin to save the state of all ranks as `step-<n>`; called by every rank.

        Training may go on when this returns. A save that is still under way is finished first. The folder gets its name
        only after every file of every rank is on disk, together with the hashes that `find` checks.

        Args:
            engine: whose state is saved.
            step: last step done.
            progress: how far the run is.
            rows: kind and size of its rows.
            best: weights of the best step so far, on the first rank; none if only those of the last step count.

        Raises:
            DnatuneError: the save before has failed, or the state cannot be saved.
        """
        began, name = time.monotonic(), f"{_PREFIX}{step:08d}"
        if self._save:
            _LOG.info("%s waits until %s is on disk", name, self._save.name)
        self.finish()
        common, own = engine_state.take(engine)
        files = copy_tree(_OWN.format(self.rank.index), own, self._memory)
        if self.rank.first:
            files |= copy_tree(_COMMON, common, self._memory)
            files |= copy_tree(_BEST, best, self._memory) if best else {}
        saved = Saved(conditions=self.conditions, progress=progress, rows=rows)
        self._save = _Save(name, began, in_background(lambda: self._write(name, files, saved)))
        _LOG.info("%s: training stood still for %.1f s", name, time.monotonic() - began)

    @property
    def at_work(self) -> bool:
        """Return whether this rank's thread is at work for a save."""
        return self._save is not None and not self._save.work.done()

    @property
    def failed(self) -> bool:
        """Return whether this rank's thread has failed to save; `go_on` and `finish` raise its error."""
        return self._save is not None and not self.at_work and self._save.work.exception() is not None

    def go_on(self, at_work: float, failed: float) -> None:
        """Take the save under way a step further if it has come so far; called by every rank between two steps.

        Args:
            at_work: number of ranks whose threads are at work.
            failed: number of ranks whose threads have failed.

        Raises:
            DnatuneError: a rank could not save; every rank raises an error.
        """
        if self._save and (failed or not at_work):
            self._advance(self._save)

    def finish(self) -> None:
        """Return when no save is under way; called by every rank.

        Raises:
            DnatuneError: a rank could not save; every rank raises an error.
        """
        while self._save:
            futures.wait([self._save.work])
            self._advance(self._save)

    def _advance(self, save: _Save) -> None:
        """Have the ranks tell each other what their threads have done, and begin what follows from it."""
        self._save, error, hashes = None, None, {}
        if save.work.done():
            error = save.work.exception()
            hashes = {} if error else save.work.result()
        failure = {key: getattr(explained(error), key) for key in ("what", "where", "fix")} if error else None
        told = exchange([failure, hashes], self.rank)
        if error:
            raise error
        for failure, _ in told:
            if failure:
                raise RunError(**failure)
        if save.naming:
            _LOG.info("%s is on disk after %.1f s", save.name, time.monotonic() - save.began)
            return
        files = {name: made for _, hashes in told for name, made in hashes.items()}
        work = in_background(lambda: self._put_in_place(save.name, files) if self.rank.first else {})
        self._save = dataclasses.replace(save, work=work, naming=True)

    def _write(self, name: str, files: Files, saved: Saved) -> dict[str, str]:
        """Write this rank's files; return the SHA-256 of each when all are on disk."""
        partial = self.folder / f"{name}{_PARTIAL}"
        partial.mkdir(exist_ok=True)
        hashes = write_files(partial, files)
        if self.rank.first:
            saved.write(partial / _STATE)
            hashes[_STATE] = sha256_of_file(partial / _STATE)
        return hashes

    def _put_in_place(self, name: str, files: dict[str, str]) -> dict[str, str]:
        """Give a checkpoint whose files are on disk its manifest and its name, and delete those that it replaces."""
        partial = self.folder / f"{name}{_PARTIAL}"
        Manifest(files=files).write(partial / _MANIFEST)
        put_in_place(partial, self.folder / name)
        # Those ahead are damaged, or the log of their steps is lost: the run went back before them.
        there = _complete(self.folder)
        kept = [path for path in there if path.name <= name][-self.limit :]
        for path in there:
            if path not in kept:
                shutil.rmtree(path)
        return {}

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

    def load_best(self, found: Found) -> dict[str, Any]:
        """Return the weights of the best step up to a checkpoint; none if the run has not kept any until there."""
        kept = found.saved.progress.get("best_step") is not None
        return read_tree(self.folder / found.name, _BEST) if kept else {}

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
        for left in self.folder.glob(f"{_PREFIX}*{_PARTIAL}*"):
            shutil.rmtree(left)
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
