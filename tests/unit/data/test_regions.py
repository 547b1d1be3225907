"""Regions of a genome, by pysam's random access, and what is wrong with a BED file, by file and line."""

import gzip
import random

import pysam
import pytest

from dnatune.data.regions import read_bed, sequences_of
from dnatune.errors import DataError

OTHER = str.maketrans("ACGTN", "TGCAN")


@pytest.fixture
def genome(tmp_path):
    rng = random.Random(1)
    path = tmp_path / "genome.fa"
    chromosomes = {name: "".join(rng.choices("ACGTacgtNRy", k=size)) for name, size in (("chr1", 997), ("chr2", 300))}
    path.write_text(
        "".join(
            f">{name} assembled\n" + "\n".join(bases[i : i + 60] for i in range(0, len(bases), 60)) + "\n"
            for name, bases in chromosomes.items()
        ),
        "utf-8",
    )
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_sequences_are_those_of_pysam(genome, tmp_path, packed):
    rng = random.Random(2)
    regions = []
    for number in range(200):
        name, size = rng.choice([("chr1", 997), ("chr2", 300)])
        start, end = sorted(rng.sample(range(size + 1), 2))
        regions.append((name, start, end, f"r{number}", "0", rng.choice("+-.")))
    regions += [("chr1", 0, 997, "whole", "0", "+"), ("chr2", 299, 300, "last", "0", "-")]
    text = "track name=x\n# comment\n" + "".join("\t".join(map(str, region)) + "\n" for region in regions)
    bed = tmp_path / "some.bed"
    bed.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    found = read_bed(bed)
    assert [(one.chromosome, one.start, one.end, one.name, one.strand) for one in found] == [
        (chromosome, start, end, name, strand) for chromosome, start, end, name, _, strand in regions
    ]
    assert [one.line for one in found] == list(range(3, 3 + len(regions)))
    sequences = sequences_of(genome, found)
    with pysam.FastaFile(str(genome)) as reader:
        for one, sequence in zip(found, sequences, strict=True):
            bases = reader.fetch(one.chromosome, one.start, one.end).upper().replace("R", "N").replace("Y", "N")
            assert sequence == (bases.translate(OTHER)[::-1] if one.strand == "-" else bases)


def test_a_packed_genome_needs_no_index(genome, tmp_path):
    bed = tmp_path / "some.bed"
    bed.write_text("chr2 10 20\n", "utf-8")
    packed = tmp_path / "genome.fa.gz"
    packed.write_bytes(gzip.compress(genome.read_bytes()))
    assert sequences_of(packed, read_bed(bed)) == sequences_of(genome, read_bed(bed))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["genome.fa", "genome.fa.gz", "some.bed"]


def test_a_window_lies_around_the_middle(tmp_path):
    bed = tmp_path / "some.bed"
    bed.write_text("chr1\t100\t200\nchr1\t100\t201\n", "utf-8")
    resized = [one.resized(20) for one in read_bed(bed)]
    assert [(one.start, one.end) for one in resized] == [(140, 160), (140, 160)]


@pytest.mark.parametrize(
    ("content", "phrases"),
    [
        ("", ["no region"]),
        ("# only a comment\n", ["no region"]),
        ("chr1\t1\n", ["no region", "line 1"]),
        ("chr1\t1\t20\nchr1\tx\t20\n", ["no region", "line 2"]),
        ("chr1\t-1\t20\n", ["no region", "line 1"]),
        ("chr1\t20\t20\n", ["ends at 20 and begins at 20"]),
        ("chr1\t1\t20\ta\t0\tforward\n", ["'forward' is no strand"]),
        ("chr1\t1\t20\nchr1\t990\t998\n", ["chr1:990-998 reaches beyond", "997 bases", "line 2", "genome.fa"]),
        ("chr1\t1\t20\n2\t1\t20\n", ["no chromosome '2'", "line 2", "chr1, chr2"]),
    ],
)
def test_a_spoilt_region_is_one_message(genome, tmp_path, content, phrases):
    bed = tmp_path / "some.bed"
    bed.write_text(content, "utf-8")
    with pytest.raises(DataError) as caught:
        sequences_of(genome, read_bed(bed))
    for phrase in [*phrases, str(bed), "to do: "]:
        assert phrase in str(caught.value)
