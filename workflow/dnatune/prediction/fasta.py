"""Sequences of a FASTA file, whole or in windows, read piece by piece."""

import array
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dnatune.errors import DataError, shown
from dnatune.prediction.rows import MOST_BASES, Row, refuse_no_rows, scored_strand, too_many
from dnatune.prediction.windows import Windows
from dnatune.text_files import pieces

#: Most letters that are read at once: a chromosome may stand on one line.
_PIECE = 1 << 16
_SIGN_FREE = (1 << 63) - 1


class Fasta:
    """A FASTA file, plain or compressed; the first word of a header is the sequence's name.

    Args:
        path: the file.
        windows: how to cut each sequence; None to score it as a whole.
        strand: forward, reverse or both.
    """

    columns = {"name": str, "start": int, "end": int, "strand": str}  # noqa: RUF012, for nothing changes it
    versions = ("",)
    chromosome = "name"

    def __init__(self, path: Path, windows: Windows | None, strand: str):
        self.path, self._windows = path, windows
        self._strand = scored_strand(strand)

    def check(self) -> int:
        """See `Source`; eight bytes per sequence are held to find names that are there twice."""
        refuse_repeated_names(self.path)
        count = 0
        for _, letters in records(self.path):
            length = sum(map(len, letters))
            count += max(1, self._windows.count(length)) if self._windows else 1
        return refuse_no_rows(count, self.path)

    def rows(self) -> Iterator[Row]:
        """See `Source`."""
        for name, letters in records(self.path):
            yield from self._in_windows(name, letters) if self._windows else [self._whole(name, letters)]

    def _in_windows(self, name: str, letters: Iterator[str]) -> Iterator[Row]:
        length = 0

        def measured() -> Iterator[str]:
            nonlocal length
            for piece in letters:
                length += len(piece)
                yield piece

        start = None
        for start, bases in self._windows.along(measured()):
            yield Row.of((name, start, start + len(bases), self._strand), bases)
        if start is None:
            yield Row((name, 0, length, self._strand), reason=self._windows.too_short())

    def _whole(self, name: str, letters: Iterator[str]) -> Row:
        held, length = [], 0
        for piece in letters:
            length += len(piece)
            if length <= MOST_BASES:
                held.append(piece)
        fields = (name, 0, length, self._strand)
        return Row(fields, reason=too_many(length)) if length > MOST_BASES else Row.of(fields, "".join(held))


def records(path: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """Yield the name of each sequence and its letters in pieces, which must be taken before the next name.

    Raises:
        DataError: the file is no FASTA file.
    """
    for (_, name), group in itertools.groupby(_pieces(path), key=lambda piece: piece[:2]):
        yield name, (letters for _, _, letters in group if letters)


def refuse_repeated_names(path: Path) -> None:
    """Check that no two sequences have one name.

    Raises:
        DataError: two have, or the file is no FASTA file.
    """
    hashes = array.array("q", (hash(name) & _SIGN_FREE for _, name in _names(path)))
    ordered = np.sort(np.frombuffer(hashes, np.int64)) if hashes else np.empty(0, np.int64)
    suspected = set(ordered[1:][np.diff(ordered) == 0].tolist())
    lines: dict[str, int] = {}
    for line, name in _names(path) if suspected else ():
        if hash(name) & _SIGN_FREE not in suspected:
            continue
        if name in lines:
            raise DataError(
                f"the name {shown(name)} is there twice",
                where=f"{path}, lines {lines[name]} and {line}",
                fix="give each sequence a name of its own: its first word, behind >",
            )
        lines[name] = line


def _names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of each sequence."""
    seen = 0
    for line, name, _ in _pieces(path):
        if line != seen:
            seen = line
            yield line, name


def _pieces(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line of the header, name and letters of each piece of a sequence; the first piece of each is empty."""
    line, header, name, whole, in_header = 0, 0, "", True, False
    for text in pieces(path, _PIECE):
        begins, whole = whole, text.endswith("\n")
        line += begins
        in_header = text.startswith(">") if begins else in_header
        if in_header and begins:
            header, name = line, next(iter(text[1:].split()), "")
            if not name:
                raise DataError("a sequence has no name", where=f"{path}, line {line}", fix="name it behind >")
            yield header, name, ""
        elif not in_header and (letters := text.strip()):
            if not header:
                raise DataError(
                    f"the first line is {shown(letters)}, and not the header of a sequence",
                    where=f"{path}, line {line}",
                    fix="give a FASTA file: > and a name, and the bases on the lines below",
                )
            yield header, name, letters
