"""Tables, FASTA, regions and windows against a brute force, and what is refused of them."""

import gzip
import random

import pysam
import pytest

from dnatune.data.fasta import read_fasta
from dnatune.data.records import read_csv
from dnatune.data.regions import read_bed, sequences_of
from dnatune.errors import DataError
from dnatune.prediction.rows import Row
from dnatune.prediction.sources import source_of
from dnatune.settings.prediction import Reading
from samples import TASK

_COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def other_strand(sequence):
    return "".join(_COMPLEMENT[base] for base in reversed(sequence))


def written(path, text):
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(text.encode())
    return path


def read(path, genome=None, **reading):
    source = source_of(path, genome, Reading.read(reading))
    rows = list(source.rows())
    assert source.check() == len(rows)
    return rows


@pytest.fixture(scope="module")
def chromosomes():
    dice = random.Random(5)
    return {name: "".join(dice.choices("ACGTN", k=length)) for name, length in (("one", 157), ("two", 61), ("x", 9))}


@pytest.fixture(scope="module")
def genome(chromosomes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("genome")
    lines = []
    for name, bases in chromosomes.items():
        # Soft-masked, as genomes are.
        lines += [f">{name} described", *(bases[at : at + 20].lower() for at in range(0, len(bases), 20))]
    return written(folder / "genome.fa", "\n".join(lines) + "\n")


def test_a_table_keeps_its_columns_and_says_why_a_row_is_not_scored(tmp_path):
    path = written(
        tmp_path / "t.csv",
        '\ufeffname,DNA,note\r\na,acgt,"x, y"\r\nb,,\r\nc,NNN,\r\nd,ACXT,\r\ne,ANNN,\r\n',
    )
    rows = read(path, column="DNA")
    assert rows[0] == Row(("a", "acgt", "x, y"), ("ACGT",))
    assert [row.reason.split(":")[0] for row in rows[1:]] == [
        "the sequence is empty",
        "every base is N",
        "base 'X' is no letter of DNA",
        "",
    ]
    tabs = written(tmp_path / "t.tsv.gz", "sequence\tlabel\nACGT\t1\n")
    assert read(tabs) == [Row(("ACGT", "1"), ("ACGT",))]


@pytest.mark.parametrize("ending", ["fa", "fasta.gz"])
def test_sequences_of_fasta_are_read_whole(tmp_path, ending):
    path = written(tmp_path / f"s.{ending}", ">a first\nAC\ngt\n\n>b\n>c\nNN")
    rows = read(path, strand="reverse")
    assert rows[0] == Row(("a", 0, 4, "-"), ("ACGT",))
    assert [(row.fields[0], row.reason) for row in rows[1:]] == [
        ("b", "the sequence is empty"),
        ("c", "every base is N"),
    ]


def test_letters_for_several_bases_are_read_as_in_training(tmp_path):
    """Each file for training, and the same file for predictions: letters of IUPAC are N, in both or in neither."""
    letters = "ACGTNRYSWKMBDHVacgtnryswkmbdhv"
    fasta, bed = written(tmp_path / "s.fa", f">c\n{letters}\n"), written(tmp_path / "r.bed", "c\t0\t30\tr\t0\t-\n")
    csv = written(tmp_path / "s.csv", f"sequence,label\n{letters},0\n")
    expected = ("ACGTN" + "N" * 10) * 2
    (trained,) = read_csv(csv, TASK).sequences
    (predicted,) = read(csv)
    assert (trained,) == predicted.sequences == (expected,)
    (record,), (predicted,) = read_fasta(fasta), read(fasta)
    assert (record.sequence,) == predicted.sequences == (expected,)
    trained, (predicted,) = sequences_of(fasta, read_bed(bed)), read(bed, fasta)
    assert tuple(trained) == predicted.sequences == (other_strand(expected),)


@pytest.mark.parametrize(("width", "stride"), [(9, 1), (9, 4), (10, 10), (7, 30), (61, 5), (157, 157), (1, 3)])
def test_windows_are_those_of_a_brute_force(chromosomes, genome, width, stride, monkeypatch):
    expected = []
    for name, bases in chromosomes.items():
        starts = [at for at in range(len(bases)) if at % stride == 0 and at + width <= len(bases)]
        expected += [((name, at, at + width, "+"), bases[at : at + width]) for at in starts]
        expected += [] if starts else [((name, 0, len(bases), "+"), "")]
    # Pieces that end within a line, at its end and at a window's.
    for piece in (1 << 16, 10, 7, 21):
        monkeypatch.setattr("dnatune.data.fasta._PIECE", piece)
        rows = read(genome, width=width, stride=stride)
        assert [row.fields for row in rows] == [fields for fields, _ in expected]
        for row, (_, bases) in zip(rows, expected, strict=True):
            assert row.sequences == ((bases,) if bases.strip("N") else ())
            assert (row.reason != "") == (not bases.strip("N"))


def test_regions_are_those_of_a_brute_force(chromosomes, genome, tmp_path):
    lines, expected = ["track name=x", "# a comment"], []
    for name, bases in chromosomes.items():
        for start, end in ((0, len(bases)), (0, 1), (len(bases) - 1, len(bases)), (3, 8)):
            for strand in "+-.":
                lines.append(f"{name}\t{start}\t{end}\tr{len(expected)}\t0\t{strand}")
                bare = bases[start:end]
                own = other_strand(bare) if strand == "-" else bare
                shown = "-" if strand == "-" else "+"
                expected.append((f"r{len(expected)}", name, start, end, shown, own if own.strip("N") else None))
    bed = written(tmp_path / "r.bed", "\n".join(lines) + "\n")
    compressed = tmp_path / "g.fa.gz"
    pysam.tabix_compress(str(genome), str(compressed))
    for file in (genome, compressed):
        rows = read(bed, file)
        assert [(*row.fields, row.sequences[0] if row.sequences else None) for row in rows] == expected
    assert [row.fields[-1] for row in read(bed, genome, strand="both")] == ["."] * len(expected)
    assert [row.fields[-1] for row in read(bed, genome, strand="reverse")] == [
        {"+": "-", "-": "+"}[one[4]] for one in expected
    ]


def test_windows_along_regions_are_those_of_a_brute_force(chromosomes, genome, tmp_path):
    bed = written(tmp_path / "r.bed", "one 5 47\ntwo 61 62\n".replace("61 62", "20 25"))
    rows = read(bed, genome, width=10, stride=8)
    bases = chromosomes["one"]
    assert [row.fields for row in rows[:-1]] == [("one:5-47", "one", at, at + 10, "+") for at in range(5, 38, 8)]
    assert [row.sequences[0] for row in rows[:-1]] == [bases[at : at + 10] for at in range(5, 38, 8)]
    assert rows[-1] == Row(("two:20-25", "two", 20, 25, "+"), reason="shorter than a window of 10 bases")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("one\t0\t158", "one:0-158 reaches beyond the chromosome, which has 157 bases"),
        ("three\t0\t5", "the genome has no chromosome 'three'"),
        ("one\t5\t5", "ends at 5 and begins at 5"),
        ("one\t-1\t5", "no region"),
        ("one\t1", "no region"),
        ("one\t0\t5\tn\t0\tx", "'x' is no strand"),
    ],
)
def test_a_bad_region_is_refused_with_its_line(genome, tmp_path, line, said):
    bed = written(tmp_path / "r.bed", f"one\t0\t5\n{line}\n")
    with pytest.raises(DataError, match=said) as refusal:
        source_of(bed, genome, Reading()).check()
    assert refusal.value.where == f"{bed}, line 2" and refusal.value.fix


@pytest.mark.parametrize(
    ("name", "text", "said", "where"),
    [
        ("s.fa", ">a\nAC\n>b\nGG\n>a again\nTT\n", "the name 'a' is there twice", "s.fa, lines 1 and 5"),
        ("s.fa", "ACGT\n", "FASTA begins with '>', and here stands 'ACGT'", "s.fa, line 1"),
        ("s.fa", ">a\nAC\n>\nAC\n", "a sequence has no name", "s.fa, line 3"),
        ("s.fa", "", "there is nothing to predict", "s.fa"),
        ("t.csv", "sequence,a\nAC\n", "1 fields in place of 2", "t.csv, line 2"),
        ("t.csv", "sequence,a\n", "there is nothing to predict", "t.csv"),
        ("t.csv", "DNA,a\nAC,1\n", "there is no column 'sequence'", "t.csv, line 1, the header"),
        ("t.csv", "sequence,a,a\nAC,1,1\n", "column 'a' is there twice", "t.csv, line 1, the header"),
        ("t.csv", 'sequence\n"AC\n', "not a table", "t.csv, line 2"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path, name, text, said, where):
    with pytest.raises(DataError, match=said) as refusal:
        source_of(written(tmp_path / name, text), None, Reading()).check()
    assert refusal.value.where.endswith(where) and refusal.value.fix


def test_what_is_no_text_is_refused(tmp_path):
    binary, cut = tmp_path / "b.fa", tmp_path / "c.fa.gz"
    binary.write_bytes(b">a\n\xff\xfe")
    cut.write_bytes(gzip.compress(b">a\nACGT\n" * 99)[:-12])
    for path, said in ((binary, "not UTF-8 text"), (cut, "damaged"), (tmp_path / "none.fa", "file not found")):
        with pytest.raises(DataError, match=said):
            source_of(path, None, Reading()).check()


def test_a_genome_that_cannot_be_indexed_is_refused(tmp_path):
    bed = written(tmp_path / "r.bed", "a\t0\t2\n")
    plain_gzip = written(tmp_path / "g.fa.gz", ">a\nACGT\n")
    twice = written(tmp_path / "t.fa", ">a\nACGT\n>a\nACGT\n")
    ragged = written(tmp_path / "r.fa", ">a\nAC\nACGT\nACG\n")
    for path, said in ((plain_gzip, "bgzip"), (ragged, "one length"), (twice, "own")):
        with pytest.raises(DataError) as refusal:
            source_of(bed, path, Reading())
        assert said in refusal.value.fix
        assert not path.with_name(f"{path.name}.fai").exists()
