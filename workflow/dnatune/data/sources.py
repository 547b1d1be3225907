"""A task's CSV files from any source end up in the same folder, with a manifest."""

import csv
import shutil
from pathlib import Path

from dnatune.data.manifests import write_manifest
from dnatune.errors import DataError, DownloadError
from dnatune.files import publish_folder
from dnatune.settings.simulation import SimulationSettings
from dnatune.settings.sources import DataSettings
from dnatune.settings.tasks import SPLITS


def task_folder(settings: DataSettings) -> Path:
    """Return the folder of a task's CSV files in a `directory` source.

    A task's own path is that folder; a common one holds `<task>/` or, as on the hub, `GUE/<task>/`.
    """
    root = Path(settings.directory.path).expanduser()
    if settings.own:
        return root
    nested = root / "GUE" / settings.task
    return nested if nested.is_dir() else root / settings.task


def download_data(settings: DataSettings, folder: Path) -> None:
    """Write train.csv, dev.csv, test.csv and manifest.json of a task into `folder`, whole or not at all.

    Args:
        settings: what decides them.
        folder: download/data/<task>.

    Raises:
        DataError: a split is missing or no CSV file.
        DownloadError: the hub cannot be reached or does not have it.
    """
    if settings.hub:
        from dnatune.data.hub import fetch_dataset_splits

        repo, revision = settings.hub.repo, settings.hub.revision
        fetch_dataset_splits(repo, revision, settings.task, folder, requested=settings.requested)
        return
    with publish_folder(folder) as scratch:
        if settings.directory:
            origin, folder_of_task = settings.directory.path, task_folder(settings)
            _copy_splits(folder_of_task, scratch)
            # As it was configured, for the name of a user's home has no place in a result.
            below = folder_of_task.relative_to(Path(origin).expanduser())
            made_by = {"folder": str(Path(origin, below))}
        else:
            made_by = settings.simulated.plain()
            origin = "dnatune.data.simulation"
            _write_simulated(settings.simulated, scratch)
        write_manifest(scratch, settings.source, origin, made_by)


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


def _write_simulated(settings: SimulationSettings, folder: Path) -> None:
    from dnatune.data.simulation import simulate

    for split, rows in simulate(settings).items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["sequence", "label"])
            writer.writerows(rows)
