"""Sequences in a column of a CSV or TSV file, whose other columns are kept."""

from collections.abc import Iterator
from pathlib import Path

from dnatune.errors import DataError, shown
from dnatune.prediction.rows import Row, refuse_no_rows
from dnatune.text_files import table


class Table:
    """A table with a header, see `text_files.table`.

    Args:
        path: the file.
        column: name of the column with the sequences.
    """

    versions = ("",)
    chromosome = None

    def __init__(self, path: Path, column: str):
        self.path = path
        header, _ = table(path)
        self._place = _place_of(column, header, path)
        self.columns = dict.fromkeys(header, str)

    def check(self) -> int:
        """See `Source`."""
        _, rows = table(self.path)
        return refuse_no_rows(sum(1 for _ in rows), self.path)

    def rows(self) -> Iterator[Row]:
        """See `Source`."""
        _, rows = table(self.path)
        for _, fields in rows:
            yield Row.of(tuple(fields), fields[self._place].strip())


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
