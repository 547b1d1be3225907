"""A split in memory, the CSV file that it comes from and the instruction records that the stages hand on."""

import csv
import dataclasses
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dnatune.data.integrity import check_file
from dnatune.data.sequences import foreign_letters, normalised
from dnatune.errors import DataError, shown
from dnatune.files import is_lfs_pointer, read_json_lines, write_json_lines
from dnatune.settings.tasks import Task

_HEADER = ["sequence", "label"]
_FIELDS = {"instruction", "input", "output"}
#: Most foreign bases or columns that a message names.
_MOST_NAMED = 8
#: The line of a CSV file, as an editor counts, that holds row 0. No row is longer: neither bases nor class indices
#: hold the end of a line.
FIRST_LINE = 2


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of a split, in the order of its file.

    Attributes:
        instruction: the question put to the model, one for all examples.
        sequences: DNA in upper case, over ACGTN.
        labels: class index of each sequence.
    """

    instruction: str
    sequences: Sequence[str]
    labels: Sequence[int]

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.sequences)

    def subset(self, indices: Sequence[int]) -> "Split":
        """Return these examples alone, in that order."""
        return Split(self.instruction, [self.sequences[i] for i in indices], [self.labels[i] for i in indices])

    def first(self, count: int) -> "Split":
        """Return the first `count` examples, or all if there are fewer."""
        return Split(self.instruction, self.sequences[:count], self.labels[:count])


def read_csv(path: Path, task: Task) -> Split:
    """Read and check a split: header `sequence,label`, DNA in the IUPAC alphabet (either case), class indices.

    Rows end at CR, LF or both. A byte-order mark and blank lines at the end are passed over.

    Args:
        path: the CSV file, UTF-8; if it is the copy of a user's file, messages name that file.
        task: its labels decide which class indices there are.

    Raises:
        DataError: what is wrong, with file and line; the header is line 1. Or the file is not the one that its manifest
            names.
    """
    if not path.is_file():
        raise DataError("file not found", where=str(path), fix="each task needs train.csv, dev.csv and test.csv")
    check_file(path, "delete its folder; the workflow takes it from its source again, which is what to edit")
    own = _original_of(path)
    if is_lfs_pointer(path):
        raise DataError(
            "this is a git-lfs pointer, not the data", where=str(own), fix="run `git lfs pull` in that repository"
        )
    rows = _rows(_text(path.read_bytes(), own), own)
    _, header = next(rows, (0, None))
    if header is None:
        raise DataError("the file is empty", where=str(own), fix="a split needs the header and at least one row")
    _check_header(header, own)
    classes = {str(index): index for index in range(len(task.labels))}
    examples = [_example(row, f"{own}, line {line}", classes) for line, row in rows]
    if not examples:
        raise DataError("the file has a header and no rows", where=str(own), fix="a split needs at least one row")
    if not any(sequence.strip("N") for sequence, _ in examples):
        raise DataError("every base of every sequence is N", where=str(own), fix="check where the sequences came from")
    return Split(task.instruction, *map(list, zip(*examples, strict=True)))


def cautions(name: str, split: Split, labels: Sequence[str]) -> list[str]:
    """Return what is to be said of a split that is read without an error: of one class, or with rows of N alone.

    Args:
        name: train, dev or test.
        split: the examples.
        labels: the task's label words.
    """
    empty = [row for row, sequence in enumerate(split.sequences) if not sequence.strip("N")]
    found = []
    if len(set(split.labels)) == 1:
        found.append(f"every row of {name}.csv is of class {labels[split.labels[0]]}, so nothing there is told apart")
    if empty:
        found.append(
            f"{len(empty)} of {len(split)} sequences of {name}.csv are of N alone, the first in line"
            f" {empty[0] + FIRST_LINE}: they can be answered by chance only"
        )
    return found


def _original_of(path: Path) -> Path:
    """Return the user's own file that a CSV file of a download is the copy of; the path itself if there is none."""
    try:
        manifest = json.loads((path.parent / "manifest.json").read_text("utf-8"))
        own = Path(manifest["settings"]["folder"], path.name)
        # What begins with ~ is as good as absolute.
        own = own if str(own).startswith("~") else own.absolute()
        return own if manifest["source"] == "directory" else path
    except (OSError, ValueError, KeyError, TypeError):  # no download, or one of an earlier version
        return path


def _text(content: bytes, path: Path) -> str:
    """Return a file's text without byte-order mark; an encoding other than UTF-8 and NUL are refused."""
    try:
        text, bad = content.decode("utf-8-sig"), content.find(0)
    except UnicodeDecodeError as error:
        text, bad = "", error.start
    if bad < 0:
        return text
    line = len(re.findall(rb"\r\n|\r|\n", content[:bad])) + 1
    raise DataError(
        f"not UTF-8 text: byte 0x{content[bad]:02x}",
        where=f"{path}, line {line}" + (", the header" if line == 1 else ""),
        fix="save the file as UTF-8 CSV",
    )


def _rows(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's first line, as an editor counts lines from 1, and its fields."""
    # Python's csv takes no field of more than 131,072 letters otherwise; the limit is the process's.
    csv.field_size_limit(sys.maxsize)
    # str.splitlines would end a line at a form feed and at U+2028, and StringIO without newline="" would change CR.
    reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        unclosed = "end of data" in str(error)
        raise DataError(
            "a quotation mark is never closed" if unclosed else f"not CSV: {error}",
            where=f"{path}, line {line}",
            fix="a sequence and a label need no quotation marks: remove them, or close each one",
        ) from None


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in _HEADER if name not in header]
    extra = [name for name in header if name not in _HEADER]
    if missing or extra or header != _HEADER:
        problem = [f"missing column {', '.join(missing)}"] if missing else []
        problem += [f"extra column {', '.join(map(shown, extra[:_MOST_NAMED]))}"] if extra else []
        raise DataError(
            "; ".join(problem) or f"columns are {','.join(header[:_MOST_NAMED])}",
            where=f"{path}, line 1, the header",
            fix="the header must be exactly: sequence,label",
        )


def _example(row: list[str], where: str, classes: Mapping[str, int]) -> tuple[str, int]:
    """Return the sequence and the class index of a row, checked."""
    if len(row) != 2:
        raise DataError(f"{len(row)} fields in place of 2", where=where, fix="a row is: sequence,label")
    sequence, label = normalised(row[0]), row[1]
    check_sequence(sequence, f"{where}, column sequence")
    if label not in classes:
        raise DataError(
            f"unknown label {shown(label)}",
            where=f"{where}, column label",
            fix=f"a label is a class index from 0 to {len(classes) - 1}, without leading zeros",
        )
    return sequence, classes[label]


def check_sequence(sequence: str, where: str) -> None:
    """Check that a normalised sequence is DNA.

    Args:
        sequence: see `normalised`.
        where: its place, for the message.

    Raises:
        DataError: it is empty, or has letters besides A, C, G, T and N.
    """
    if not sequence:
        raise DataError("the sequence is empty", where=where, fix="remove the row or fill it in")
    if foreign := foreign_letters(sequence):
        raise DataError(
            f"base {', '.join(map(repr, foreign[:_MOST_NAMED]))} in a sequence",
            where=where,
            fix="allowed are A, C, G, T and N, and letters for several bases (R, Y, …), in upper or lower case",
        )


def write_split(path: Path, split: Split, labels: Sequence[str]) -> None:
    """Write a split as instruction records, one JSON object per line.

    Args:
        path: the file.
        split: the examples.
        labels: the task's label words.
    """
    examples = zip(split.sequences, split.labels, strict=True)
    write_json_lines(
        path,
        (
            {"instruction": split.instruction, "input": sequence, "output": labels[label]}
            for sequence, label in examples
        ),
    )


def read_split(path: Path, labels: Sequence[str]) -> Split:
    """Read and check a split that `write_split` wrote.

    Args:
        path: the file.
        labels: the task's label words.

    Raises:
        DataError: the file is not the one that its manifest names, or has no record; or a record lacks a field, asks
            something else than the first, or has an answer that is no label of the task.
    """
    check_file(path, "delete its folder; the workflow prepares the split again")
    classes = {label: index for index, label in enumerate(labels)}
    records = read_json_lines(path)
    if not records:
        raise DataError("the file has no record", where=str(path), fix="run the prepare stage again")
    for line, record in enumerate(records, start=1):
        problem = _problem(record, records[0], classes)
        if problem:
            raise DataError(problem[0], where=f"{path}, line {line}", fix=f"{problem[1]}; run the prepare stage again")
    return Split(
        records[0]["instruction"],
        [record["input"] for record in records],
        [classes[record["output"]] for record in records],
    )


def _problem(record: Mapping[str, str], first: Mapping[str, str], classes: Mapping[str, int]) -> tuple[str, str] | None:
    """Return what is wrong with a record and what it should be; None if it is right."""
    if not isinstance(record, dict):
        return f"{str(record)[:60]} stands where a record is due", "a record has instruction, input and output"
    if record.keys() != _FIELDS:
        return f"record has the fields {', '.join(sorted(record))}", "a record has instruction, input and output"
    if record["instruction"] != first["instruction"]:
        return "the instruction differs from that of the first record", "a task has one instruction"
    if record["output"] not in classes:
        return f"the answer {shown(record['output'])} is no label of the task", f"labels are: {', '.join(classes)}"
    return None
