"""Choose how an input is read, by the ending of its name."""

from pathlib import Path

from dnatune.errors import ConfigurationError
from dnatune.prediction.fasta import Fasta
from dnatune.prediction.genome import Genome
from dnatune.prediction.regions import Regions
from dnatune.prediction.rows import Source
from dnatune.prediction.tables import Table
from dnatune.prediction.variants import Variants
from dnatune.prediction.windows import Windows
from dnatune.settings.prediction import Reading

_TABLES = (".csv", ".tsv", ".txt")
_FASTA = (".fa", ".fasta", ".fna", ".ffn")
_REGIONS, _VARIANTS = (".bed",), (".vcf",)


def windows_of(reading: Reading) -> Windows | None:
    """Return the windows that are asked for; None if none are."""
    return Windows(reading.width, reading.stride or reading.width) if reading.width else None


def source_of(path: Path, genome: Path | None, reading: Reading) -> Source:
    """Return the input that a file is.

    Args:
        path: the file; `.gz` at its end does not count.
        genome: FASTA file that regions and variants refer to.
        reading: how to read it.

    Raises:
        ConfigurationError: the ending says no kind of input, or settings do not suit it.
        DataError: the file is missing, or its head is wrong.
    """
    ending, windows = Path(path.name.lower().removesuffix(".gz")).suffix, windows_of(reading)
    if ending not in (*_TABLES, *_FASTA, *_REGIONS, *_VARIANTS):
        raise ConfigurationError(
            f"the ending {ending!r} says no kind of input",
            where=str(path),
            fix=f"end its name with one of: {', '.join((*_TABLES, *_FASTA, *_REGIONS, *_VARIANTS))}, and .gz",
        )
    if ending in _TABLES:
        _refuse(windows is not None, "the sequences of a table are not cut into windows", path, "give FASTA or BED")
    if ending in (*_TABLES, *_FASTA):
        _refuse(genome is not None, "only BED and VCF refer to a genome", path, "leave --genome out")
        return Table(path, reading.column) if ending in _TABLES else Fasta(path, windows, reading.strand)
    _refuse(genome is None, f"{ending} refers to a genome", path, "give its FASTA file by --genome")
    if ending in _REGIONS:
        return Regions(path, Genome.open(genome), windows, reading.strand)
    _refuse(windows is None, "the window around each variant has no width", path, "give it by --width")
    _refuse(reading.stride is not None, "variants have one window each", path, "leave --stride out")
    return Variants(path, Genome.open(genome), reading.width, reading.strand)


def _refuse(wrong: bool, what: str, path: Path, fix: str) -> None:
    if wrong:
        raise ConfigurationError(what, where=str(path), fix=fix)
