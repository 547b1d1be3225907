"""Variants of a VCF file: a window of the genome around each, as it is and with the variant."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from dnatune.errors import DataError, shown
from dnatune.prediction.genome import Genome
from dnatune.prediction.rows import Row, refuse_no_rows, scored_strand
from dnatune.text_files import lines

#: CHROM, POS, ID, REF, ALT, QUAL, FILTER and INFO.
_FEWEST_FIELDS = 8
_BASES = set("ACGTN")


@dataclasses.dataclass(frozen=True)
class Variant:
    """A line of a VCF file.

    Attributes:
        chromosome: name of the chromosome.
        position: place of the first base of `reference`, counted from 1.
        identifier: its identifier; a dot for none.
        reference: bases of the genome, in upper case.
        alternatives: what stands in their place, as the file writes it.
    """

    chromosome: str
    position: int
    identifier: str
    reference: str
    alternatives: list[str]


class Variants:
    """The variants of a VCF file, a row for each alternative.

    Args:
        path: the VCF file, plain or compressed.
        genome: what its places refer to.
        width: bases of a window.
        strand: forward, reverse or both.
    """

    columns = {  # noqa: RUF012, as in `Fasta`
        "chromosome": str,
        "position": int,
        "identifier": str,
        "reference": str,
        "alternative": str,
        "strand": str,
    }
    versions = ("_reference", "_alternative")
    chromosome = "chromosome"

    def __init__(self, path: Path, genome: Genome, width: int, strand: str):
        self.path, self._genome, self._width, self._strand = path, genome, width, scored_strand(strand)

    def check(self) -> int:
        """See `Source`; the bases of each variant are compared with the genome."""
        return refuse_no_rows(sum(len(variant.alternatives) for variant in self._variants()), self.path)

    def rows(self) -> Iterator[Row]:
        """See `Source`."""
        for variant in self._variants():
            for alternative in variant.alternatives:
                yield self._row(variant, alternative)

    def _row(self, variant: Variant, alternative: str) -> Row:
        """Return the windows without and with an alternative.

        Both begin at the same base and have the same width, so behind an insertion the second ends earlier in the
        genome, and behind a deletion later. The replaced bases stand in the middle of the first.
        """
        place, reference = (variant.chromosome, variant.position), variant.reference
        fields = (*place, variant.identifier, reference, alternative, self._strand)
        replacing = alternative.upper()
        if not replacing or set(replacing) - _BASES:
            return Row(fields, reason="the alternative is not written as bases")
        if max(len(reference), len(replacing)) > self._width:
            return Row(fields, reason=f"the variant is longer than a window of {self._width} bases")
        first = variant.position - 1
        start = first - (self._width - len(reference)) // 2
        behind = first + len(reference)
        ends = [start + self._width, behind + start + self._width - first - len(replacing)]
        if start < 0 or max(ends) > self._genome.length(variant.chromosome, str(self.path)):
            return Row(fields, reason="a window reaches beyond the chromosome")
        before = self._genome.bases(variant.chromosome, start, first)
        after = self._genome.bases(variant.chromosome, behind, max(*ends, behind))
        return Row.of(fields, *((before + bases + after)[: self._width] for bases in (reference, replacing)))

    def _variants(self) -> Iterator[Variant]:
        begun = False
        for line, text in enumerate(lines(self.path), start=1):
            if not text.strip():
                continue
            where = f"{self.path}, line {line}"
            begun = begun or text.startswith("##fileformat=VCF")
            if not begun:
                raise DataError("not a VCF file", where=where, fix="give a file that begins with ##fileformat=VCF")
            if not text.startswith("#"):
                variant = _variant(text, where)
                self._refuse_other_bases(variant, where)
                yield variant

    def _refuse_other_bases(self, variant: Variant, where: str) -> None:
        """Check that the genome has the bases of a variant's reference.

        Raises:
            DataError: it has others, or ends before.
        """
        length = self._genome.length(variant.chromosome, where)
        first, end = variant.position - 1, variant.position - 1 + len(variant.reference)
        found = self._genome.bases(variant.chromosome, first, end) if end <= length else None
        if found != variant.reference:
            has = f"has {shown(found)} there" if found else f"has {length} bases"
            raise DataError(
                f"REF is {shown(variant.reference)} at {variant.chromosome}:{variant.position}, and the genome {has}",
                where=where,
                fix=f"give the genome that the variants were called on, in place of {self._genome.path}",
            )


def _variant(text: str, where: str) -> Variant:
    """Return the variant of a line.

    Raises:
        DataError: the line is none.
    """
    fields = text.split("\t")
    if len(fields) < _FEWEST_FIELDS:
        raise DataError(
            f"{len(fields)} fields in place of {_FEWEST_FIELDS} or more",
            where=where,
            fix="a line of VCF has CHROM, POS, ID, REF, ALT, QUAL, FILTER and INFO, with tabs between them",
        )
    chromosome, position, identifier, reference, alternatives = fields[:5]
    if not (position.isascii() and position.isdigit() and int(position)):
        raise DataError(f"POS is {shown(position)}", where=where, fix="give a whole number from 1")
    if not reference or set(reference.upper()) - _BASES:
        raise DataError(f"REF is {shown(reference)}", where=where, fix="give the bases of the genome: A, C, G, T or N")
    return Variant(chromosome, int(position), identifier, reference.upper(), alternatives.split(","))
