"""Regions of a genome, named by a BED file: whole, or in windows along each."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from dnatune.data.sequences import reverse_complement
from dnatune.errors import DataError, shown
from dnatune.prediction.genome import Genome
from dnatune.prediction.rows import MOST_BASES, Row, refuse_no_rows, scored_strand, too_many
from dnatune.prediction.text_files import numbered_lines
from dnatune.prediction.windows import Windows

#: Lines of a browser that stand between regions.
_NO_REGION = ("#", "track", "browser")
_NAME, _STRAND = 3, 5


@dataclasses.dataclass(frozen=True)
class Region:
    """A line of a BED file: places count from 0, the end is the first base behind; + where no strand is named."""

    chromosome: str
    start: int
    end: int
    name: str
    strand: str


class Regions:
    """The regions of a BED file.

    Args:
        path: the BED file.
        genome: what its places refer to.
        windows: how to cut each region; None to score it as a whole.
        strand: forward, the strand that the region names, or + if none; reverse, the other; or both.
    """

    columns = {"name": str, "chromosome": str, "start": int, "end": int, "strand": str}  # noqa: RUF012, as in `Fasta`
    versions = ("",)
    chromosome = "chromosome"

    def __init__(self, path: Path, genome: Genome, windows: Windows | None, strand: str):
        self.path, self._genome, self._windows, self._strand = path, genome, windows, strand

    def check(self) -> int:
        """See `Source`."""
        counts = (max(1, self._windows.count(one.end - one.start)) if self._windows else 1 for one in self._regions())
        return refuse_no_rows(sum(counts), self.path)

    def rows(self) -> Iterator[Row]:
        """See `Source`."""
        for region in self._regions():
            length = region.end - region.start
            if self._windows is None:
                yield self._row(region, region.start, region.end)
            elif starts := self._windows.starts(length):
                for start in (region.start + offset for offset in starts):
                    yield self._row(region, start, start + self._windows.width)
            else:
                yield Row(self._fields(region, region.start, region.end), reason=self._windows.too_short())

    def _row(self, region: Region, start: int, end: int) -> Row:
        fields = self._fields(region, start, end)
        if end - start > MOST_BASES:
            return Row(fields, reason=too_many(end - start))
        bases = self._genome.bases(region.chromosome, start, end)
        return Row.of(fields, reverse_complement(bases) if region.strand == "-" else bases)

    def _fields(self, region: Region, start: int, end: int) -> tuple[str, str, int, int, str]:
        return region.name, region.chromosome, start, end, scored_strand(self._strand, region.strand)

    def _regions(self) -> Iterator[Region]:
        for line, text in numbered_lines(self.path):
            if not text.startswith(_NO_REGION):
                where = f"{self.path}, line {line}"
                region = _region(text, where)
                length = self._genome.length(region.chromosome, where)
                if region.end > length:
                    raise DataError(
                        f"the region ends at {region.end}, and {region.chromosome} has {length} bases",
                        where=where,
                        fix=f"cut the region, or see whether the BED file belongs to the genome {self._genome.path}",
                    )
                yield region


def _region(text: str, where: str) -> Region:
    """Return the region of a line.

    Raises:
        DataError: the line is none.
    """
    fields = text.split("\t") if "\t" in text else text.split()
    places = [field.strip() for field in fields[1:3]]
    if len(places) < 2 or not all(place.isascii() and place.isdigit() for place in places):
        raise DataError(
            f"no region: {shown(text)}", where=where, fix="give chromosome, start and end, with tabs between them"
        )
    start, end = map(int, places)
    if start >= end:
        raise DataError(
            f"the region starts at {start} and ends at {end}", where=where, fix="give an end behind the start"
        )
    strand = fields[_STRAND].strip() if len(fields) > _STRAND else "."
    if strand not in ("+", "-", "."):
        raise DataError(f"the strand is {shown(strand)}", where=where, fix="give +, - or a dot in the sixth column")
    name = fields[_NAME].strip() if len(fields) > _NAME else ""
    name = name if name not in ("", ".") else f"{fields[0]}:{start}-{end}"
    return Region(fields[0], start, end, name, "-" if strand == "-" else "+")
