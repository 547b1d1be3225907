"""What every kind of input is read as: rows with one sequence, or two of a variant, and the reason if one has none."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from dnatune.data.sequences import foreign_letters, normalised
from dnatune.errors import DataError

#: Rows that are scored and written together. A prediction that was cut short repeats less than that on each rank.
CHUNK = 4096
#: Most bases of a sequence: more than any model reads at once.
MOST_BASES = 1_000_000
#: Most foreign letters that a reason names.
_MOST_NAMED = 4
_OTHER_STRAND = {"+": "-", "-": "+"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the input.

    Attributes:
        fields: what stands in the first columns of the output.
        sequences: DNA in upper case, over ACGTN; empty if there is a reason.
        reason: why the row is not scored; empty if it is.
    """

    fields: tuple[Any, ...]
    sequences: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def of(cls, fields: tuple[Any, ...], *sequences: str) -> Self:
        """Return the row of sequences, which are read as in training and scored if training would accept them."""
        read = tuple(map(normalised, sequences))
        reason = next(filter(None, map(_why_not_scored, read)), "")
        return cls(fields, () if reason else read, reason)


def _why_not_scored(sequence: str) -> str:
    if not sequence:
        return "the sequence is empty"
    if len(sequence) > MOST_BASES:
        return too_many(len(sequence))
    if foreign := foreign_letters(sequence):
        return f"base {', '.join(map(repr, foreign[:_MOST_NAMED]))} is no letter of DNA"
    return "" if sequence.strip("N") else "every base is N"


def too_many(bases: int) -> str:
    """Return the reason for not scoring a sequence of more than `MOST_BASES`."""
    return f"{bases} bases are more than {MOST_BASES}: cut the sequence into windows"


class Source(Protocol):
    """An input that is read row by row, as often as needed, with memory that does not grow with it.

    Attributes:
        path: its file.
        columns: type of each of the rows' fields, by the column's name.
        versions: names of the sequences of a row, as they end the names of columns; one empty name for a single one.
        chromosome: column with the name of the sequence that `start` and `end` count in; None if there is none.
    """

    path: Path
    columns: Mapping[str, type]
    versions: tuple[str, ...]
    chromosome: str | None

    def check(self) -> int:
        """Read the whole input and return its number of rows.

        Raises:
            DataError: what is wrong, with file and line.
        """

    def rows(self) -> Iterator[Row]:
        """Yield the rows of an input that was checked."""


def chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows in lists of `CHUNK`; the last may be shorter."""
    while chunk := list(itertools.islice(rows, CHUNK)):
        yield chunk


def rows_of_rank(count: int, index: int, world: int) -> int:
    """Return how many of an input's rows are one rank's, if `world` ranks take chunks by turns."""
    starts = range(index * CHUNK, count, world * CHUNK)
    return sum(min(CHUNK, count - start) for start in starts)


def scored_strand(chosen: str, own: str = "+") -> str:
    """Return which strand is scored of a sequence on a strand: + or -, or a dot for both.

    Args:
        chosen: setting `strand`: forward, reverse or both.
        own: the sequence's own strand.
    """
    return {"forward": own, "reverse": _OTHER_STRAND[own], "both": "."}[chosen]


def refuse_no_rows(count: int, path: Path) -> int:
    """Return a number of rows that is not 0.

    Raises:
        DataError: it is.
    """
    if not count:
        raise DataError("there is nothing to predict", where=str(path), fix="give a file with at least one sequence")
    return count
