"""Choose how an input is read, by the ending of its name."""

from pathlib import Path

from dnatune.prediction.fasta import Fasta
from dnatune.prediction.genome import Genome
from dnatune.prediction.regions import Regions
from dnatune.prediction.rows import Source
from dnatune.prediction.tables import Table
from dnatune.prediction.variants import Variants
from dnatune.prediction.windows import Windows
from dnatune.settings.prediction import FASTA, INPUTS, REGIONS, TABLE, Reading, ending


def windows_of(reading: Reading) -> Windows | None:
    """Return the windows that are asked for; None if none are."""
    return Windows(reading.width, reading.stride or reading.width) if reading.width else None


def source_of(path: Path, genome: Path | None, reading: Reading) -> Source:
    """Return the input that a file is.

    Args:
        path: the file.
        genome: FASTA file that regions and variants refer to.
        reading: how to read it, of which `misfit` has found nothing.

    Raises:
        DataError: the file is missing, or its head is wrong.
    """
    windows = windows_of(reading)
    kind = INPUTS[ending(path.name)]
    if kind == TABLE:
        return Table(path, reading.column)
    if kind == FASTA:
        return Fasta(path, windows, reading.strand)
    if kind == REGIONS:
        return Regions(path, Genome.open(genome), windows, reading.strand)
    return Variants(path, Genome.open(genome), reading.width, reading.strand)
