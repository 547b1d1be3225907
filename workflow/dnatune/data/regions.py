"""Regions of a genome: BED files, and the sequences that stand there."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from dnatune.data.fasta import FastaRecord, read_fasta
from dnatune.data.sequences import reverse_complement
from dnatune.errors import DataError, shown
from dnatune.text_files import lines

_NO_BASE = re.compile("[^ACGTN]")
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
    """Return the sequence of each region, of the minus strand as its reverse complement, in upper case.

    The genome is read once, a chromosome at a time, so that it needs no index and may be compressed with gzip. Letters
    that stand for several bases (R, Y, …) become N.

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
            found[number] = _cut(chromosome, regions[number], genome)
        if not wanted:
            return found
    first = regions[next(iter(wanted.values()))[0]]
    others = ", ".join(there[:_MOST_NAMED]) + (", …" if len(there) > _MOST_NAMED else "")
    raise DataError(
        f"the genome has no chromosome {shown(first.chromosome)}",
        where=first.where,
        fix=f"use the genome that the regions were made on; {genome} has {others}",
    )


def _cut(chromosome: FastaRecord, region: Region, genome: Path) -> str:
    length = len(chromosome.sequence)
    if region.start < 0 or region.end > length:
        raise DataError(
            f"{region.chromosome}:{region.start}-{region.end} reaches beyond the chromosome, which has {length} bases",
            where=region.where,
            fix=f"take the region out, or use the genome that it was made on; this one is {genome}",
        )
    cut = _NO_BASE.sub("N", chromosome.sequence[region.start : region.end])
    return reverse_complement(cut) if region.strand == "-" else cut
