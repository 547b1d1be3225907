"""Where base models and data came from: what their manifests say, and the configuration that names it for good."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from dnatune.contracts import Record
from dnatune.data.integrity import Contents, contents_of
from dnatune.errors import ConfigurationError, DataError
from dnatune.files import digest
from dnatune.settings.sources import Download


class MadeSplit(Record):
    """How the examples of a user's own files came into splits."""

    by: Literal["clusters", "chromosomes", "random"] | None
    """Rule by which splits were made; `null` if all were there."""
    made: list[str]
    """Splits that were made, of the examples that no file and no column puts into another."""
    seed: int | None
    """Seed of the draw; `null` if nothing was drawn."""
    groups: int | None
    """Clusters, or chromosomes, each of which went to one split whole; `null` if examples were drawn one by one."""
    largest: int | None
    """Examples in the largest of them."""
    chromosomes: dict[str, list[str]]
    """By split, the chromosomes of a split by chromosome; empty for others."""
    classes: dict[str, dict[str, int]]
    """By split and class, the number of examples."""


class Manifest(Contents):
    """manifest.json: where a base model or the data of a task came from."""

    remedy: ClassVar[str] = "delete its folder and download again"

    source: Literal["hub", "directory", "files", "simulated", "tiny"]
    """Kind of source."""
    origin: str
    """Repository, folder or files as configured, or the generator's name."""
    requested: str | None
    """Revision of a hub repository by the name it was first downloaded under; `null` for other sources."""
    revision: str | None
    """Commit that this meant at the time, 40 hexadecimal digits; `null` for other sources."""
    settings: dict[str, Any]
    """What made it if the source is `simulated` or `tiny`; `folder`, where the CSV files were, for a task's data from a
    `directory`; `files`, the SHA-256 of each of the user's files, if the source is that; `store`, where the files of a
    linked model came from; empty otherwise."""
    split: MadeSplit | None = None
    """Of the user's own files, how their examples came into splits; `null` or absent for other sources."""

    @property
    def digest(self) -> str:
        """Return the digest of all files; that of a model is `inputs.model` of run.json."""
        return digest(self.files)


@dataclasses.dataclass(frozen=True)
class Origin:
    """A manifest and where it stands."""

    path: Path
    manifest: Manifest


@dataclasses.dataclass(frozen=True)
class Origins:
    """The base models and the tasks' data, by name."""

    models: Mapping[str, Origin] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Origin] = dataclasses.field(default_factory=dict)

    @property
    def data_commits(self) -> list[str]:
        """Return the commits of the hub's data set that the tasks came from: more than one if its branch moved."""
        return list(dict.fromkeys(filter(None, (origin.manifest.revision for origin in self.data.values()))))


def read(models: Sequence[Path], data: Sequence[Path], tasks: Sequence[str]) -> Origins:
    """Return where everything came from.

    Args:
        models: folders download/models/<model>.
        data: files download/data/<task>/manifest.json, one a task.
        tasks: the tasks' names, in the same order.

    Raises:
        ConfigurationError: not one file a task.
        DataError: a manifest is missing or breaks its contract.
    """
    if len(data) != len(tasks):
        raise ConfigurationError(
            f"{len(data)} manifests of {len(tasks)} tasks", where="command line, --data", fix="name one for every task"
        )
    return Origins(
        {folder.name: _read(folder / "manifest.json") for folder in models},
        {task: _read(path) for task, path in zip(tasks, data, strict=True)},
    )


def _read(path: Path) -> Origin:
    return Origin(path, Manifest.read(path))


def name_at_download(settings: Download, manifest: Path) -> Download:
    """Return settings of a download with the revision by the name that it was downloaded under.

    A branch, and the commit that it meant when it was downloaded, are then the same settings and rerun nothing.

    Args:
        settings: what `Configuration.data_settings` or `Configuration.model_settings` returns.
        manifest: of the download, if there is one.
    """
    if settings.source != "hub":
        return settings
    try:
        found = Manifest.read(manifest)
    except DataError:  # not downloaded yet, or not whole
        return settings
    same = found.origin == settings.hub.repo and settings.hub.revision in (found.requested, found.revision)
    return settings.at_revision(found.requested) if same else settings


def pinned(settings: Mapping[str, Any], origins: Origins) -> dict[str, Any]:
    """Return a configuration with the hub's commits in place of the revisions that were asked for.

    One revision stands there for the data of all tasks. If they came from several commits, it is the one that was asked
    for.

    Args:
        settings: what `Configuration.result_settings` returns.
        origins: of everything in it.

    Raises:
        ConfigurationError: something came from the hub that the configuration does not take from there.
    """
    made = copy.deepcopy(dict(settings))
    for name, origin in origins.models.items():
        if origin.manifest.revision:
            _hub_of(made, origin, "models", name)["revision"] = origin.manifest.revision
    on_hub = [origin for origin in origins.data.values() if origin.manifest.revision]
    if on_hub:
        first, one = on_hub[0].manifest, len(origins.data_commits) == 1
        _hub_of(made, on_hub[0], "data")["revision"] = first.revision if one else first.requested
    return made


def _hub_of(settings: Mapping[str, Any], origin: Origin, *keys: str) -> dict[str, Any]:
    part: Any = settings
    for key in (*keys, "hub"):
        part = part.get(key) or {}
    if part.get("repo") != origin.manifest.origin:
        raise ConfigurationError(
            f"'{'.'.join(keys)}' does not take {origin.manifest.origin} from the hub, and {origin.path} did",
            where="command line, --configuration",
            fix="give the configuration that made these results",
        )
    return part


def write_manifest(
    folder: Path,
    source: str,
    origin: str,
    settings: dict[str, Any],
    split: MadeSplit | None = None,
    contents: Contents | None = None,
) -> None:
    """Write manifest.json of a folder that did not come from the hub; its files are read unless `contents` is given."""
    Manifest(
        source=source,
        origin=origin,
        requested=None,
        revision=None,
        settings=settings,
        split=split,
        **dict(contents or contents_of(folder)),
    ).write(folder / "manifest.json")
