"""FASTA as it comes, by an independent reader, and what is wrong with one, by file, line and record."""

import gzip
import random

import pysam
import pytest

from dnatune.data.fasta import read_fasta
from dnatune.errors import DataError


@pytest.mark.parametrize("packed", [False, True])
def test_records_are_those_of_pysam(tmp_path, packed):
    rng = random.Random(0)
    text = ""
    for number in range(60):
        sequence = "".join(rng.choices("ACGTNacgt", k=rng.randrange(1, 200)))
        width = rng.randrange(1, 80)
        wrapped = "\n".join(sequence[i : i + width] for i in range(0, len(sequence), width))
        text += f">name{number} a description > more\n{wrapped}\n" + "\n" * rng.randrange(2)
    path = tmp_path / "some.fa"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    found = list(read_fasta(path))
    with pysam.FastxFile(str(path)) as reader:
        expected = [(one.name, one.sequence.upper()) for one in reader]
    assert [(one.name, one.sequence) for one in found] == expected
    lines = text.split("\n")
    assert all(lines[one.line - 1].startswith(f">{one.name} ") for one in found)


def test_names_may_repeat_and_be_empty(tmp_path):
    path = tmp_path / "some.fa"
    path.write_text(">a\nAC\n>\nGG\n>a\nTT", "utf-8")
    assert [(one.name, one.sequence) for one in read_fasta(path)] == [("a", "AC"), ("", "GG"), ("a", "TT")]


@pytest.mark.parametrize(
    ("content", "phrases"),
    [
        ("", ["no record"]),
        ("\n\n", ["no record"]),
        ("@read\nACGT\n+\nIIII\n", ["FASTA begins with '>'", "'@read'", "line 1"]),
        ("sequence,label\nACGT,0\n", ["FASTA begins with '>'", "'sequence,label'"]),
        (">a\nACGT\n>b\n>c\nAC\n", ["no sequence", "line 3", "record 'b'"]),
        (">a\nACGT\n>b\n", ["no sequence", "line 3", "record 'b'"]),
    ],
)
def test_a_spoilt_file_is_one_message(tmp_path, content, phrases):
    path = tmp_path / "some.fa"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError) as caught:
        list(read_fasta(path))
    for phrase in [*phrases, str(path), "to do: "]:
        assert phrase in str(caught.value)
