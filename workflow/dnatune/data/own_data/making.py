"""The three CSV files of a task, made of a user's own files, and where each of their rows came from."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dnatune.data.manifests import MadeSplit
from dnatune.data.own_data.examples import Collection, read
from dnatune.data.own_data.splitting import Assigned, assign
from dnatune.files import sha256_of_file
from dnatune.settings.sources import DataSettings
from dnatune.settings.tasks import SPLITS

#: Columns of rows.tsv, before the other columns of the user's table.
_COLUMNS = ("split", "id", "class", "file", "line", "name", "chromosome", "cluster")


def write_splits(settings: DataSettings, folder: Path) -> MadeSplit:
    """Write train.csv, dev.csv, test.csv, and rows.tsv, which says where each row came from.

    Args:
        settings: with the user's files.
        folder: to write into.

    Returns:
        How the splits were made.

    Raises:
        DataError: a file is not what it should be, or cannot be split.
    """
    collection = read(settings.files, settings.labels)
    assigned = assign(
        collection.examples, settings.files.splitting, settings.labels, settings.similarity, settings.task
    )
    rows = defaultdict(list)
    for number, name in enumerate(assigned.splits):
        rows[name].append(number)
    for name in SPLITS:
        chosen = [collection.examples[number] for number in rows[name]]
        _write(folder / f"{name}.csv", ",", ["sequence", "label"], ([one.sequence, one.label] for one in chosen))
    origins = (
        origin for name in SPLITS for origin in _origins(name, rows[name], collection, assigned, settings.labels)
    )
    _write(folder / "rows.tsv", "\t", [*_COLUMNS, *collection.columns], origins)
    return assigned.record


def hashes_of_files(settings: DataSettings) -> dict[str, str]:
    """Return the SHA-256 of each of the user's files, by its path as configured."""
    return {path: sha256_of_file(Path(path).expanduser()) for path in settings.files.all_paths}


def _origins(
    split: str, numbers: Sequence[int], collection: Collection, assigned: Assigned, labels: Sequence[str]
) -> Iterable[list[object]]:
    for row, number in enumerate(numbers):
        one = collection.examples[number]
        group = -1 if assigned.groups is None or assigned.record.by != "clusters" else assigned.groups[number]
        yield [
            *(split, row, labels[one.label], one.file, one.line, one.name, one.chromosome or ""),
            "" if group < 0 else group,
            *(one.others or ("",) * len(collection.columns)),
        ]


def _write(path: Path, separator: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
