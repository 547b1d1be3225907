"""A task's CSV files from any source end up in the same folder, with a manifest."""

import csv
import logging
import shutil
from pathlib import Path

from dnatune.data.manifests import write_manifest
from dnatune.errors import DataError, DownloadError
from dnatune.files import leads_out, publish_folder
from dnatune.settings.simulation import SimulationSettings
from dnatune.settings.sources import DataSettings
from dnatune.settings.tasks import SPLITS, folder_names

_LOG = logging.getLogger(__name__)
#: Most folders that a message names: GUE as released has 28.
_MOST_FOLDERS = 30


def task_folder(settings: DataSettings) -> Path:
    """Return the folder of a task's CSV files in a `directory` source.

    A task's own path is that folder. A common one holds `<task>/` or the folder of GUE as it was released, such as
    `EMP/H3/`, in itself or in `GUE/`. If it holds none of them, `<task>/` is returned.
    """
    root = Path(settings.directory.path).expanduser()
    if settings.own:
        return root
    places = [parent / name for parent in (root / "GUE", root) for name in folder_names(settings.task)]
    return next((place for place in places if place.is_dir()), root / settings.task)


def files_of(settings: DataSettings) -> list[Path]:
    """Return the files that the data of a task are taken from; none of the hub or a simulator."""
    if settings.files:
        return [Path(path).expanduser() for path in settings.files.all_paths]
    return [task_folder(settings) / f"{split}.csv" for split in SPLITS] if settings.directory else []


def download_data(settings: DataSettings, folder: Path) -> None:
    """Write train.csv, dev.csv, test.csv and manifest.json of a task into `folder`, whole or not at all.

    Of a user's own files there is rows.tsv too.

    Args:
        settings: what decides them.
        folder: download/data/<task>.

    Raises:
        DataError: a split is missing or no CSV file; or a user's own file is not what it should be.
        DownloadError: the hub cannot be reached or does not have it.
    """
    if settings.hub:
        from dnatune.data.hub import fetch_dataset_splits

        repo, revision = settings.hub.repo, settings.hub.revision
        fetch_dataset_splits(repo, revision, settings.task, folder, requested=settings.requested)
        return
    with publish_folder(folder) as scratch:
        split = None
        if settings.files:
            from dnatune.data.own_data.making import hashes_of_files, write_splits

            split = write_splits(settings, scratch)
            origin, made_by = ", ".join(settings.files.all_paths), {"files": hashes_of_files(settings)}
        elif settings.directory:
            origin, folder_of_task = settings.directory.path, task_folder(settings)
            if not settings.own and not folder_of_task.is_dir():
                raise _no_folder(settings.task, Path(origin).expanduser())
            _copy_splits(folder_of_task, scratch)
            # As it was configured, for the name of a user's home has no place in a result.
            below = folder_of_task.relative_to(Path(origin).expanduser())
            made_by = {"folder": str(Path(origin, below))}
        else:
            made_by = settings.simulated.plain()
            origin = "dnatune.data.simulation"
            _write_simulated(settings.simulated, scratch)
        write_manifest(scratch, settings.source, origin, made_by, split)


def _no_folder(task: str, root: Path) -> DataError:
    """Return the error that says which folders of tasks a common folder holds."""
    if not root.is_dir():
        return DataError("the folder does not exist", where=str(root.absolute()), fix="check 'data.directory.path'")
    depths = ("*", "*/*", "*/*/*")
    found = sorted({file.parent for depth in depths for file in root.glob(f"{depth}/train.csv")})
    names = [str(folder.relative_to(root)) for folder in found[:_MOST_FOLDERS]]
    more = f" and {len(found) - len(names)} more" if len(found) > len(names) else ""
    there = f"the folders with a train.csv are {', '.join(names)}{more}" if names else "no folder there has a train.csv"
    return DataError(
        f"no folder for the task {task} ({' or '.join(folder_names(task))}, there or in GUE); {there}",
        where=str(root.absolute()),
        fix="choose one of these tasks, or give the task a 'path' of its own",
    )


def _copy_splits(source: Path, folder: Path) -> None:
    missing = [f"{split}.csv" for split in SPLITS if not (source / f"{split}.csv").is_file()]
    if missing:
        raise DataError(
            f"{', '.join(missing)} not found",
            where=str(source.absolute()),
            fix="a task needs train.csv, dev.csv and test.csv; check 'data.directory.path' or the task's 'path'",
        )
    for split in SPLITS:
        file = source / f"{split}.csv"
        if leads_out(file, source):
            # Shared folders of data are often made of links, and only bases and class indices are taken from a file.
            _LOG.warning("%s is a symbolic link that leads out of its folder, to %s", file, file.resolve())
        try:
            shutil.copyfile(file, folder / file.name)
        except OSError as error:
            raise DownloadError(
                f"cannot copy: {error}", where=str(source.absolute()), fix="free space, or fix the permissions"
            ) from None


def _write_simulated(settings: SimulationSettings, folder: Path) -> None:
    from dnatune.data.simulation import simulate

    for split, rows in simulate(settings).items():
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["sequence", "label"])
            writer.writerows(rows)
