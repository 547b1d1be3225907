"""The download stage: data and models from any source end up in the same folders, with a manifest."""

import csv
import shutil
from pathlib import Path
from typing import Any

from dnatune.errors import DataError, DownloadError
from dnatune.files import folder_hashes, publish_folder, write_json
from dnatune.tasks import SPLITS


def task_folder(settings: dict[str, Any]) -> Path:
    """Return the folder of a task's CSV files in a `directory` source.

    A task's own path is that folder; a common one holds `<task>/` or, as on the hub, `GUE/<task>/`.
    """
    root = Path(settings["path"]).expanduser()
    if settings.get("own"):
        return root
    nested = root / "GUE" / settings["task"]
    return nested if nested.is_dir() else root / settings["task"]


def download_data(settings: dict[str, Any], folder: Path) -> None:
    """Write train.csv, dev.csv, test.csv and manifest.json of a task into `folder`, whole or not at all.

    Args:
        settings: what `Configuration.data_settings` returns; for `hub` the key `requested` may be added, the name
            by which the revision was first asked for.
        folder: download/data/<task>.

    Raises:
        DataError: a split is missing or no CSV file.
        DownloadError: the hub cannot be reached or does not have it.
    """
    source = settings["source"]
    if source == "hub":
        from dnatune.hub import fetch_dataset_splits

        repo, revision, task = (settings[key] for key in ("repo", "revision", "task"))
        fetch_dataset_splits(repo, revision, task, folder, requested=settings.get("requested"))
        return
    with publish_folder(folder) as scratch:
        if source == "directory":
            _copy_splits(task_folder(settings), scratch)
            origin, made_by = str(settings["path"]), {}
        else:
            made_by = {key: value for key, value in settings.items() if key not in ("source", "task")}
            origin = "dnatune.simulate"
            _write_simulated(made_by, scratch)
        _write_manifest(scratch, source, origin, made_by)


def _copy_splits(source: Path, folder: Path) -> None:
    missing = [f"{split}.csv" for split in SPLITS if not (source / f"{split}.csv").is_file()]
    if missing:
        raise DataError(
            f"{', '.join(missing)} not found",
            where=str(source),
            fix="a task needs train.csv, dev.csv and test.csv; check 'data.directory.path' or the task's 'path'",
        )
    for split in SPLITS:
        try:
            shutil.copyfile(source / f"{split}.csv", folder / f"{split}.csv")
        except OSError as error:
            raise DownloadError(
                f"cannot copy: {error}", where=str(source), fix="free space, or fix the permissions"
            ) from None


def _write_simulated(settings: dict[str, Any], folder: Path) -> None:
    from dnatune.simulate import SimulationSettings, simulate

    for split, rows in simulate(SimulationSettings.from_mapping(settings)).items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["sequence", "label"])
            writer.writerows(rows)


def download_model(settings: dict[str, Any], train: Path | None, folder: Path) -> None:
    """Write a base model, its tokenizer and manifest.json into `folder`, whole or not at all.

    Args:
        settings: what `Configuration.model_settings` returns; for `tiny` with the key `task` added, for `hub`
            `requested` as in `download_data`.
        train: training split that a `tiny` model's tokenizer is made from.
        folder: download/models/<model>.

    Raises:
        ModelError: the folder configured is no model that can be loaded safely.
        DownloadError: the hub cannot be reached or does not have it.
    """
    source = settings["source"]
    if source == "hub":
        from dnatune.hub import fetch_model

        fetch_model(settings["repo"], settings["revision"], folder, requested=settings.get("requested"))
        return
    from dnatune import models

    with publish_folder(folder) as scratch:
        if source == "directory":
            models.copy_folder(Path(settings["path"]).expanduser(), scratch)
            origin, made_by = str(settings["path"]), {}
        else:
            made_by = {key: value for key, value in settings.items() if key != "source"}
            origin = "dnatune.models.make_tiny"
            if train is None:
                raise DataError("a tiny model needs a training split", where="--train", fix="give the CSV file")
            _make_tiny(made_by, train, scratch)
        _write_manifest(scratch, source, origin, made_by)


def _make_tiny(settings: dict[str, Any], train: Path, folder: Path) -> None:
    from dnatune import models
    from dnatune.prompts import render
    from dnatune.records import read_csv

    task = settings["task"]
    sequences = [sequence for sequence, _ in read_csv(train, len(task["labels"]))]
    prompt = render({"instruction": task["instruction"], "input": ""})
    models.make_tiny(settings, sequences, [prompt + label for label in task["labels"]], folder)


def _write_manifest(folder: Path, source: str, origin: str, settings: dict[str, Any]) -> None:
    manifest = {
        "source": source,
        "origin": origin,
        "requested": None,
        "revision": None,
        "settings": settings,
        "files": folder_hashes(folder),
    }
    write_json(folder / "manifest.json", manifest)
