"""Where base models and data came from: what their manifests say, and the configuration that names it for good."""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnatune.errors import ConfigurationError, DataError
from dnatune.files import digest, folder_hashes, read_json, write_json

_KEYS = ("source", "origin", "revision", "files")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a base model or the data of a task came from.

    Attributes:
        manifest: the file that says so.
        source: `hub`, `directory`, `simulated` or `tiny`.
        place: repository, folder as configured, or the generator's name.
        requested: the revision that was asked for, None where the source is no hub.
        commit: what that meant at the time, 40 hexadecimal digits; None likewise.
        digest: of the SHA-256 of every file; of a model it is `inputs.model` of run.json.
    """

    manifest: Path
    source: str
    place: str
    requested: str | None
    commit: str | None
    digest: str


@dataclasses.dataclass(frozen=True)
class Origins:
    """The base models and the tasks' data, by name."""

    models: Mapping[str, Origin] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Origin] = dataclasses.field(default_factory=dict)

    @property
    def data_commits(self) -> list[str]:
        """Return the commits of the hub's data set that the tasks came from: more than one if its branch moved."""
        return list(dict.fromkeys(origin.commit for origin in self.data.values() if origin.commit))


def read(models: Sequence[Path], data: Sequence[Path], tasks: Sequence[str]) -> Origins:
    """Return where everything came from.

    Args:
        models: folders download/models/<model>.
        data: files download/data/<task>/manifest.json, one a task.
        tasks: the tasks' names, in the same order.

    Raises:
        ConfigurationError: not one file a task.
        DataError: a manifest is missing or lacks a key.
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
    manifest = read_json(path)
    missing = [key for key in _KEYS if key not in manifest]
    if missing:
        raise DataError(f"{', '.join(missing)} missing", where=str(path), fix="delete its folder and download again")
    commit = manifest["revision"]
    requested = manifest.get("requested", commit)
    return Origin(path, manifest["source"], manifest["origin"], requested, commit, digest(manifest["files"]))


def name_at_download(settings: Mapping[str, Any], manifest: Path) -> dict[str, Any]:
    """Return settings of a download with the revision by the name that it was downloaded under.

    A branch, and the commit that it meant when it was downloaded, are then the same settings and rerun nothing.

    Args:
        settings: what `Configuration.data_settings` or `Configuration.model_settings` returns.
        manifest: of the download, if there is one.
    """
    if settings["source"] != "hub":
        return dict(settings)
    try:
        found = json.loads(manifest.read_text("utf-8"))
        requested = found["requested"]
        same = found["origin"] == settings["repo"] and settings["revision"] in (requested, found["revision"])
    except (OSError, ValueError, KeyError, TypeError):  # not downloaded yet, or not whole
        same = False
    return {**settings, "revision": requested} if same else dict(settings)


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
        if origin.commit:
            _hub_of(made, origin, "models", name)["revision"] = origin.commit
    on_hub = [origin for origin in origins.data.values() if origin.commit]
    if on_hub:
        one = len(origins.data_commits) == 1
        _hub_of(made, on_hub[0], "data")["revision"] = on_hub[0].commit if one else on_hub[0].requested
    return made


def _hub_of(settings: Mapping[str, Any], origin: Origin, *keys: str) -> dict[str, Any]:
    part: Any = settings
    for key in (*keys, "hub"):
        part = part.get(key) or {}
    if part.get("repo") != origin.place:
        raise ConfigurationError(
            f"'{'.'.join(keys)}' does not take {origin.place} from the hub, and {origin.manifest} did",
            where="command line, --configuration",
            fix="give the configuration that made these results",
        )
    return part


def write_manifest(folder: Path, source: str, origin: str, settings: dict[str, Any]) -> None:
    """Write manifest.json of a folder that did not come from the hub."""
    manifest = {
        "source": source,
        "origin": origin,
        "requested": None,
        "revision": None,
        "settings": settings,
        "files": folder_hashes(folder),
    }
    write_json(folder / "manifest.json", manifest)
