"""GUE's CSV files and the instruction records made from them."""

import csv
from pathlib import Path

from dnatune.data.tasks import Task
from dnatune.errors import DataError
from dnatune.files import is_lfs_pointer, read_json_lines, write_json_lines

_HEADER = ["sequence", "label"]
_ALPHABET = frozenset("ACGTN")


def read_csv(path: Path, classes: int) -> list[tuple[str, int]]:
    """Read and check a split: header `sequence,label`, DNA in ACGTN (either case), class indices.

    Args:
        path: the CSV file, UTF-8.
        classes: number of classes; labels are 0 … classes-1.

    Returns:
        (sequence in upper case, class index) of each row, in file order.

    Raises:
        DataError: what is wrong, with file and row (the first data row is row 0, as `id` in predictions.tsv).
    """
    if not path.is_file():
        raise DataError("file not found", where=str(path), fix="each task needs train.csv, dev.csv and test.csv")
    if is_lfs_pointer(path):
        raise DataError(
            "this is a git-lfs pointer, not the data",
            where=str(path),
            fix="run `git lfs pull` in that repository",
        )
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") - 1
        raise DataError(
            f"not UTF-8 text: byte 0x{content[error.start]:02x}",
            where=f"{path}, row {row}" if row >= 0 else f"{path}, header",
            fix="save the file as UTF-8 CSV",
        ) from None
    rows = csv.reader(lines)
    header = next(rows, None)
    if header is None:
        raise DataError("the file is empty", where=str(path), fix="a split needs the header and at least one row")
    _check_header(header, path)
    records = [_check_row(row, path, number, classes) for number, row in enumerate(rows)]
    if not records:
        raise DataError("the file has a header and no rows", where=str(path), fix="a split needs at least one row")
    return records


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in _HEADER if name not in header]
    extra = [name for name in header if name not in _HEADER]
    if missing or extra or header != _HEADER:
        problem = [f"missing column {', '.join(missing)}"] if missing else []
        problem += [f"extra column {', '.join(map(repr, extra))}"] if extra else []
        raise DataError(
            "; ".join(problem) or f"columns are {','.join(header)}",
            where=f"{path}, header",
            fix="the header must be exactly: sequence,label",
        )


def _check_row(row: list[str], path: Path, number: int, classes: int) -> tuple[str, int]:
    where = f"{path}, row {number}"
    if len(row) != 2:
        raise DataError(f"{len(row)} fields in place of 2", where=where, fix="a row is: sequence,label")
    sequence, label = row[0].upper(), row[1]
    if not sequence:
        raise DataError("the sequence is empty", where=where, fix="remove the row or fill it in")
    foreign = sorted(set(sequence) - _ALPHABET)
    if foreign:
        raise DataError(
            f"base {', '.join(map(repr, foreign))} in a sequence",
            where=f"{where}, column sequence",
            fix="allowed are A, C, G, T and N, in upper or lower case",
        )
    if not (label.isascii() and label.isdigit() and int(label) < classes):
        raise DataError(
            f"unknown label {label!r}",
            where=f"{where}, column label",
            fix=f"a label is a class index from 0 to {classes - 1}",
        )
    return sequence, int(label)


def instruction_records(rows: list[tuple[str, int]], task: Task) -> list[dict[str, str]]:
    """Turn (sequence, class index) rows into {"instruction", "input", "output"} records."""
    return [
        {"instruction": task.instruction, "input": sequence, "output": task.labels[label]} for sequence, label in rows
    ]


def write_records(path: Path, records: list[dict[str, str]]) -> None:
    """Write instruction records, one a line."""
    write_json_lines(path, records)


def read_records(path: Path) -> list[dict[str, str]]:
    """Read instruction records back.

    Raises:
        DataError: a line lacks a field.
    """
    records = read_json_lines(path)
    for number, record in enumerate(records):
        if set(record) != {"instruction", "input", "output"}:
            raise DataError(
                f"record has the fields {', '.join(sorted(record))}",
                where=f"{path}, record {number}",
                fix="a record has instruction, input and output; run the prepare stage again",
            )
    return records
