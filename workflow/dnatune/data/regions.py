"""Regions of a genome: BED files, and the sequences that stand there."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from dnatune.data.fasta import read_fasta
from dnatune.data.sequences import reverse_complement
from dnatune.errors import DataError, shown
from dnatune.text_files import lines

#: Most chromosomes that a message names.
_MOST_NAMED = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Region:
    """A line of a BED file.

    Attributes:
        chromosome: name of the chromosome.
        start, end: the first base, counted from 0, and the base behind the last.
        name: the fourth column; empty if there is none.
        strand: the sixth column; `.` if there is none.
        file: the BED file.
        line: its line, from 1.
    """

    chromosome: str
    start: int
    end: int
    name: str
    strand: str
    file: Path
    line: int

    @property
    def where(self) -> str:
        """Return the place for a message."""
        return f"{self.file}, line {self.line}"

    def resized(self, width: int) -> "Region":
        """Return the window of so many bases around the middle of the region."""
        start = (self.start + self.end - width) // 2
        return dataclasses.replace(self, start=start, end=start + width)

    def check_within(self, length: int, genome: Path) -> None:
        """Check that the region lies on its chromosome, which has so many bases in a genome.

        Raises:
            DataError: it reaches beyond an end.
        """
        if self.start < 0 or self.end > length:
            place = f"{self.chromosome}:{self.start}-{self.end}"
            raise DataError(
                f"{place} reaches beyond the chromosome, which has {length} bases",
                where=self.where,
                fix=f"take the region out, or use the genome that it was made on; this one is {genome}",
            )


def read_bed(path: Path) -> list[Region]:
    """Return the regions of a BED file: its first three columns, the name and the strand; lines of a browser are none.

    Args:
        path: plain or compressed with gzip; narrowPeak and BED12 serve, whose blocks are not read.

    Raises:
        DataError: the file is no text or has no region; or a line is no region.
    """
    found = list(each_region(path))
    if not found:
        raise DataError("the file has no region", where=str(path), fix="give a BED file with at least one region")
    return found


def each_region(path: Path) -> Iterator[Region]:
    """Yield the regions of a BED file one at a time; see `read_bed`. A file without any is no error."""
    for number, line in enumerate(lines(path), start=1):
        if line.strip() and not line.startswith(("#", "track", "browser")):
            yield _region(line, path, number)


def _region(line: str, path: Path, number: int) -> Region:
    columns = line.split("\t") if "\t" in line else line.split()
    where = f"{path}, line {number}"
    if len(columns) < 3 or not (columns[1].strip().isdecimal() and columns[2].strip().isdecimal()):
        raise DataError(
            f"no region: {shown(line[:60])}", where=where, fix="a line of BED is: chromosome, start, end, with tabs"
        )
    start, end = int(columns[1]), int(columns[2])
    if start >= end:
        raise DataError(f"the region ends at {end} and begins at {start}", where=where, fix="the end is the larger")
    strand = columns[5].strip() if len(columns) > 5 else "."
    if strand not in ("+", "-", "."):
        raise DataError(f"{shown(strand)} is no strand", where=where, fix="the sixth column is +, - or a full stop")
    return Region(columns[0].strip(), start, end, columns[3] if len(columns) > 3 else "", strand, path, number)


def sequences_of(genome: Path, regions: Sequence[Region]) -> list[str]:
    """Return the sequence of each region, of the minus strand as its reverse complement, see `normalised`.

    The genome is read once, a chromosome at a time, so that it needs no index and may be compressed with gzip.

    Args:
        genome: FASTA of the chromosomes.
        regions: in any order.

    Raises:
        DataError: the genome is no FASTA; or a region has no chromosome there, or reaches beyond it.
    """
    wanted, found = defaultdict(list), [""] * len(regions)
    for number, region in enumerate(regions):
        wanted[region.chromosome].append(number)
    there = []
    for chromosome in read_fasta(genome):
        there.append(chromosome.name)
        for number in wanted.pop(chromosome.name, ()):
            region = regions[number]
            region.check_within(len(chromosome.sequence), genome)
            cut = chromosome.sequence[region.start : region.end]
            found[number] = reverse_complement(cut) if region.strand == "-" else cut
        if not wanted:
            return found
    first = regions[next(iter(wanted.values()))[0]]
    raise no_chromosome(first.chromosome, first.where, genome, there)


def no_chromosome(name: str, where: str, genome: Path, known: Sequence[str]) -> DataError:
    """Return the error of a place on a chromosome that the genome, which has those that are known, lacks."""
    others = ", ".join(known[:_MOST_NAMED]) + (", …" if len(known) > _MOST_NAMED else "")
    return DataError(
        f"the genome has no chromosome {shown(name)}",
        where=where,
        fix=f"use the genome that the file was made on; {genome} has {others}",
    )
