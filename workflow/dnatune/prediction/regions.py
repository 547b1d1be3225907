"""Regions of a genome, named by a BED file: whole, or in windows along each."""

from collections.abc import Iterator
from pathlib import Path

from dnatune.data.regions import Region, each_region
from dnatune.data.sequences import reverse_complement
from dnatune.prediction.genome import Genome
from dnatune.prediction.rows import MOST_BASES, Row, refuse_no_rows, scored_strand, too_many
from dnatune.prediction.windows import Windows


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
        name = region.name.strip()
        name = name if name not in ("", ".") else f"{region.chromosome}:{region.start}-{region.end}"
        strand = scored_strand(self._strand, "-" if region.strand == "-" else "+")
        return name, region.chromosome, start, end, strand

    def _regions(self) -> Iterator[Region]:
        for region in each_region(self.path):
            region.check_within(self._genome.length(region.chromosome, region.where), self._genome.path)
            yield region
