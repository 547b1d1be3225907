"""Records of a FASTA file."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from dnatune.errors import DataError, shown
from dnatune.text_files import lines


@dataclasses.dataclass(frozen=True, slots=True)
class FastaRecord:
    """A sequence and its name.

    Attributes:
        name: the first word behind the `>`; empty if there is none.
        sequence: as it stands there, in upper case and on one line.
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
    name, start, parts = None, 0, []
    for number, line in enumerate(lines(path), start=1):
        if line.startswith(">"):
            if name is not None:
                yield _record(path, name, start, parts)
            name, start, parts = (line[1:].split(maxsplit=1) or [""])[0], number, []
        elif name is not None:
            parts.append(line.strip())
        elif line.strip():
            raise DataError(
                f"FASTA begins with '>', and here stands {shown(line[:20])}",
                where=f"{path}, line {number}",
                fix="give a FASTA file: a line '>name', then the sequence, for each record",
            )
    if name is None:
        raise DataError("the file has no record", where=str(path), fix="give a FASTA file with at least one sequence")
    yield _record(path, name, start, parts)


def _record(path: Path, name: str, line: int, parts: list[str]) -> FastaRecord:
    sequence = "".join(parts).upper()
    if not sequence:
        raise DataError(
            "the record has no sequence",
            where=f"{path}, line {line}, record {shown(name)}",
            fix="remove it or fill it in",
        )
    return FastaRecord(name, sequence, line)
