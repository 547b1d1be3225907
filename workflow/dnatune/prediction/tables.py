"""Sequences in a column of a CSV or TSV file, whose other columns are kept."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from dnatune.errors import DataError, shown
from dnatune.prediction.rows import Row, refuse_no_rows
from dnatune.prediction.text_files import opened


class Table:
    """A table with a header; a field is CSV, quoted where it has to be.

    Args:
        path: the file; commas separate its fields if its name says CSV, tabs otherwise.
        column: name of the column with the sequences.
    """

    versions = ("",)
    chromosome = None

    def __init__(self, path: Path, column: str):
        self.path = path
        self._separator = "," if ".csv" in path.suffixes else "\t"
        _, header = next(self._lines(), (1, []))
        self._place = _place_of(column, header, path)
        self.columns = dict.fromkeys(header, str)

    def check(self) -> int:
        """See `Source`."""
        count = 0
        for line, fields in self._lines():
            if len(fields) != len(self.columns):
                raise DataError(
                    f"{len(fields)} fields in place of {len(self.columns)}",
                    where=f"{self.path}, line {line}",
                    fix="give every row as many fields as the header has",
                )
            count += 1
        return refuse_no_rows(count - 1, self.path)

    def rows(self) -> Iterator[Row]:
        """See `Source`."""
        lines = self._lines()
        next(lines)
        for _, fields in lines:
            yield Row.of(tuple(fields), fields[self._place].strip())

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        # Python's csv takes no field of more than 131,072 letters otherwise; the limit is the process's.
        csv.field_size_limit(sys.maxsize)
        with opened(self.path, newline="") as stream:
            reader = csv.reader(stream, delimiter=self._separator, strict=True)
            line = 1
            try:
                for fields in reader:
                    if fields:
                        yield line, fields
                    line = reader.line_num + 1
            except csv.Error as error:
                raise DataError(
                    f"not a table: {error}",
                    where=f"{self.path}, line {line}",
                    fix="close every quotation mark, and double those inside of quoted fields",
                ) from None


def _place_of(column: str, header: list[str], path: Path) -> int:
    """Return the place of the column with the sequences in the header.

    Raises:
        DataError: it is not there, or a column's name is there twice.
    """
    where = f"{path}, line 1, the header"
    if column not in header:
        raise DataError(
            f"there is no column {column!r}",
            where=where,
            fix=f"name the column with the sequences by --column: {', '.join(map(shown, header)) or 'there is none'}",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"column {shown(twice[0])} is there twice", where=where, fix="give each column its own name")
    return header.index(column)
