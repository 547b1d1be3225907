"""Sequences of a FASTA file: whole, or piece by piece where one may not fit into memory."""

import array
import dataclasses
import itertools
import operator
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dnatune.data.sequences import normalised
from dnatune.errors import DataError, shown
from dnatune.text_files import pieces

#: Most letters that are read at once: a chromosome may stand on one line.
_PIECE = 1 << 16
_SIGN_FREE = (1 << 63) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class FastaRecord:
    """A sequence and its name.

    Attributes:
        name: the first word behind the `>`; empty if there is none.
        sequence: on one line, see `normalised`.
        line: line of the `>`, from 1.
    """

    name: str
    sequence: str
    line: int


def read_fasta(path: Path) -> Iterator[FastaRecord]:
    """Yield the records of a FASTA file one at a time; letters are not checked, and a name may stand there twice.

    Args:
        path: plain or compressed with gzip. Blank lines are passed over.

    Raises:
        DataError: the file is no text, has no record or does not begin with `>`; or a record has no sequence.
    """
    line = 0
    for line, name, letters in in_pieces(path):
        sequence = normalised("".join(letters))
        if not sequence:
            raise DataError(
                "the record has no sequence",
                where=f"{path}, line {line}, record {shown(name)}",
                fix="remove it or fill it in",
            )
        yield FastaRecord(name, sequence, line)
    if not line:
        raise DataError("the file has no record", where=str(path), fix="give a FASTA file with at least one sequence")


def in_pieces(path: Path) -> Iterator[tuple[int, str, Iterator[str]]]:
    """Yield line and name of each record, and its letters in pieces, which must be taken before the next record.

    A file without a record and a record without letters are no errors here.

    Raises:
        DataError: the file is no text, or does not begin with `>`.
    """
    for (line, name), group in itertools.groupby(_pieces(path), key=operator.itemgetter(0)):
        yield line, name, (letters for _, letters in group if letters)


def check_names(path: Path) -> None:
    """Check that each record has a name of its own; eight bytes per record are held.

    Raises:
        DataError: one has no name, or two have the same; or see `in_pieces`.
    """
    hashes = array.array("q", (_hash(name) for _, name in _names(path)))
    ordered = np.sort(np.frombuffer(hashes, np.int64)) if hashes else np.empty(0, np.int64)
    suspected = set(ordered[1:][np.diff(ordered) == 0].tolist())
    lines: dict[str, int] = {}
    for line, name in _names(path) if suspected else ():
        if _hash(name) in suspected and lines.setdefault(name, line) != line:
            raise DataError(
                f"the name {shown(name)} is there twice",
                where=f"{path}, lines {lines[name]} and {line}",
                fix="give each sequence a name of its own: its first word, behind >",
            )


def _hash(name: str) -> int:
    return hash(name) & _SIGN_FREE


def _names(path: Path) -> Iterator[tuple[int, str]]:
    for line, name, _ in in_pieces(path):
        if not name:
            raise DataError("a sequence has no name", where=f"{path}, line {line}", fix="name it behind >")
        yield line, name


def _pieces(path: Path) -> Iterator[tuple[tuple[int, str], str]]:
    """Yield each piece of a record behind the line and name of the record; the first piece of each is empty."""
    line, record, whole, in_header = 0, None, True, False
    for text in pieces(path, _PIECE):
        begins, whole = whole, text.endswith("\n")
        line += begins
        in_header = text.startswith(">") if begins else in_header
        if in_header and begins:
            record = (line, next(iter(text[1:].split(maxsplit=1)), ""))
            yield record, ""
        elif not in_header and (letters := text.strip()):
            if record is None:
                raise DataError(
                    f"FASTA begins with '>', and here stands {shown(letters[:20])}",
                    where=f"{path}, line {line}",
                    fix="give a FASTA file: a line '>name', then the sequence, for each record",
                )
            yield record, letters
