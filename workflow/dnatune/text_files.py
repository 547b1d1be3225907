"""Text files as people have them: plain or compressed with gzip, any ends of lines, tables with commas or tabs."""

import csv
import functools
import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from dnatune.errors import DataError, shown
from dnatune.files import is_lfs_pointer

_GZIP = b"\x1f\x8b"
#: Separators of a table's columns: the first of them that stands in the header.
_SEPARATORS = "\t,;"
#: Most columns that a message names.
_MOST_NAMED = 12


def lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, without their ends; a byte-order mark is passed over.

    Args:
        path: plain or compressed with gzip (bgzip too), whatever its name.

    Raises:
        DataError: the file is missing, cannot be read, is cut short or damaged, or holds no text.
    """
    for line in _text(path):
        yield line.rstrip("\r\n")


def pieces(path: Path, most: int) -> Iterator[str]:
    """Yield the lines of a text file as `lines` does, with their ends; one of more than `most` letters in pieces."""
    return _text(path, most)


def table(path: Path, columns: Sequence[str] = ()) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the header of a table and its rows, each with its first line as an editor counts lines from 1.

    Columns are separated by tabs, commas or semicolons; the header decides. Blank lines are passed over.

    Args:
        path: as `lines` takes it.
        columns: that the table must have.

    Raises:
        DataError: as of `lines`; or the header is missing, repeats a column or lacks one. A row with too many or too
            few fields is found when it is reached.
    """
    # Python's csv takes no field of more than 131,072 letters otherwise; the limit is the process's.
    csv.field_size_limit(sys.maxsize)
    text = _text(path)
    first = next(text, "")
    if not first.strip():
        raise DataError(
            "the first line is empty" if first else "the file is empty",
            where=str(path),
            fix="a table begins with the names of its columns",
        )
    separator = next((one for one in _SEPARATORS if one in first), ",")
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator))]
    there = ", ".join(map(shown, header[:_MOST_NAMED]))
    for name in columns:
        if header.count(name) != 1:
            raise DataError(
                f"{'several columns are' if name in header else 'no column is'} called {shown(name)}",
                where=f"{path}, line 1, the header",
                fix=f"its columns are {there}: name those of the sequence and of the label",
            )
    return header, _rows(path, csv.reader(text, delimiter=separator, strict=True), len(header))


def _rows(path: Path, reader: Iterator[list[str]], width: int) -> Iterator[tuple[int, list[str]]]:
    line = 2
    try:
        for row in reader:
            if row and len(row) != width:
                raise DataError(
                    f"{len(row)} fields in place of {width}",
                    where=f"{path}, line {line}",
                    fix="give each row as many fields as the header has",
                )
            if row:
                yield line, row
            line = reader.line_num + 2
    except csv.Error as error:
        raise DataError(
            f"not a table: {error}", where=f"{path}, line {line}", fix="close each quotation mark, or remove them"
        ) from None


def _text(path: Path, most: int = -1) -> Iterator[str]:
    """Yield the lines of a text file, or pieces of them, with their ends, each of which is read as a line feed."""
    if not path.is_file():
        said = "this is a folder" if path.is_dir() else "file not found"
        raise DataError(said, where=str(path), fix="check the path; a relative one counts from where snakemake starts")
    if is_lfs_pointer(path):
        raise DataError(
            "this is a git-lfs pointer, not the data", where=str(path), fix="run `git lfs pull` in that repository"
        )
    try:
        with path.open("rb") as stream:
            packed = stream.read(len(_GZIP)) == _GZIP
            stream.seek(0)
            with io.TextIOWrapper(gzip.open(stream) if packed else stream, "utf-8-sig") as text:
                for line in iter(functools.partial(text.readline, most), ""):
                    if "\x00" in line:
                        raise _no_text(path, 0)
                    yield line
    except UnicodeDecodeError as error:
        raise _no_text(path, error.object[error.start]) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"the compressed file is cut short or damaged: {error}",
            where=str(path),
            fix="copy or download it again; `gzip -t` says whether it is whole",
        ) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error}", where=str(path), fix="see to its permissions") from None


def _no_text(path: Path, byte: int) -> DataError:
    return DataError(f"not UTF-8 text: byte 0x{byte:02x}", where=str(path), fix="give a text file, plain or gzip")
