"""A genome whose bases are read by place, from a FASTA file with an index."""

import tempfile
from pathlib import Path
from typing import Self

import pysam

from dnatune.data.fasta import check_names
from dnatune.data.regions import no_chromosome
from dnatune.data.sequences import normalised
from dnatune.errors import DataError
from dnatune.files import publish_file

_INDEX, _BLOCKS = ".fai", ".gzi"
_GZIP = b"\x1f\x8b"


class Genome:
    """An open genome.

    Args:
        path: the FASTA file.
        index: its index, as `samtools faidx` makes it.
        blocks: of a file that bgzip has compressed, the index of its blocks; otherwise None.
    """

    def __init__(self, path: Path, index: Path, blocks: Path | None):
        self.path = path
        try:
            self._file = pysam.FastaFile(str(path), str(index), str(blocks) if blocks else None)
        except (OSError, ValueError) as error:
            raise DataError(
                f"the genome cannot be opened: {str(error).splitlines()[0]}",
                where=str(path),
                fix=f"delete {index}, which is then made again, if the genome is whole",
            ) from None
        self._lengths = dict(zip(self._file.references, self._file.lengths, strict=True))

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a genome; an index that it lacks is written beside it, or where that is not allowed, for this time only.

        Raises:
            DataError: the file is missing, is no FASTA file, is compressed with gzip in place of bgzip, or has two
                sequences of one name.
        """
        try:
            with path.open("rb") as stream:
                compressed = stream.read(2) == _GZIP
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from None
        names = (_INDEX, _BLOCKS) if compressed else (_INDEX,)
        beside = [path.with_name(path.name + name) for name in names]
        if not all(index.is_file() for index in beside):
            check_names(path)
            try:
                _write_indices(path, beside)
            except PermissionError:
                folder = Path(tempfile.mkdtemp(prefix="dnatune-index-"))
                beside = [folder / index.name for index in beside]
                _write_indices(path, beside)
        return cls(path, beside[0], beside[1] if compressed else None)

    def length(self, chromosome: str, where: str) -> int:
        """Return the number of bases of a chromosome.

        Args:
            chromosome: its name.
            where: file and line that name it, for a message.

        Raises:
            DataError: the genome has none of that name.
        """
        if chromosome not in self._lengths:
            raise no_chromosome(chromosome, where, self.path, list(self._lengths))
        return self._lengths[chromosome]

    def bases(self, chromosome: str, start: int, end: int) -> str:
        """Return the bases from `start`, counted from 0, to before `end`, see `normalised`."""
        return normalised(self._file.fetch(chromosome, start, end))


def _write_indices(path: Path, indices: list[Path]) -> None:
    """Write the index of a genome, and if two are named, the index of its compressed blocks."""
    with publish_file(indices[0]) as index, publish_file(indices[-1]) as blocks:
        options = ["--fai-idx", str(index), *(["--gzi-idx", str(blocks)] if len(indices) > 1 else [])]
        try:
            pysam.faidx(str(path), *options)
        except pysam.SamtoolsError:
            raise DataError(
                "no index of the genome can be made",
                where=str(path),
                fix="give FASTA whose lines of a sequence are all of one length, plain or compressed with bgzip; gzip "
                "does not serve: gunzip it, and bgzip it or leave it plain",
            ) from None
