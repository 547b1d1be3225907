"""A task's CSV files from any source end up in the same folder, with a manifest."""

import csv
import shutil
from pathlib import Path
from typing import Any

from dnatune.data.manifests import write_manifest
from dnatune.data.tasks import SPLITS
from dnatune.errors import DataError, DownloadError
from dnatune.files import publish_folder


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
        from dnatune.data.hub import fetch_dataset_splits

        repo, revision, task = (settings[key] for key in ("repo", "revision", "task"))
        fetch_dataset_splits(repo, revision, task, folder, requested=settings.get("requested"))
        return
    with publish_folder(folder) as scratch:
        if source == "directory":
            origin, folder_of_task = str(settings["path"]), task_folder(settings)
            _copy_splits(folder_of_task, scratch)
            # As it was configured, for the name of a user's home has no place in a result.
            below = folder_of_task.relative_to(Path(origin).expanduser())
            made_by = {"folder": str(Path(origin, below))}
        else:
            made_by = {key: value for key, value in settings.items() if key not in ("source", "task")}
            origin = "dnatune.data.simulation"
            _write_simulated(made_by, scratch)
        write_manifest(scratch, source, origin, made_by)


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
    from dnatune.data.simulation import SimulationSettings, simulate

    for split, rows in simulate(SimulationSettings.from_mapping(settings)).items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["sequence", "label"])
            writer.writerows(rows)
