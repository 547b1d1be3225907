"""Windows around variants against a brute force on whole chromosomes, and what is refused."""

import random

import pytest

from dnatune.errors import DataError
from dnatune.prediction.sources import source_of
from dnatune.settings.prediction import Reading

_HEAD = "##fileformat=VCFv4.3\n##contig=<ID=c>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
_BASES = "".join(random.Random(3).choices("ACGT", k=90))


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    path = tmp_path_factory.mktemp("genome") / "g.fa"
    path.write_text(f">c\n{_BASES[:45].lower()}\n{_BASES[45:]}\n", "utf-8")
    return path


def variants(folder, genome, lines, width=21):
    path = folder / "v.vcf"
    path.write_text(_HEAD + "".join("\t".join(map(str, (*line, ".", "PASS", "."))) + "\n" for line in lines), "utf-8")
    return source_of(path, genome, Reading(width=width))


@pytest.mark.parametrize("width", [1, 2, 8, 21, 40])
def test_windows_are_those_of_a_brute_force(genome, tmp_path, width):
    lines, dice = [], random.Random(width)
    for position in range(1, len(_BASES) + 1):
        length = dice.choice((1, 1, 2, 5))
        reference = _BASES[position - 1 : position - 1 + length]
        lines.append(("c", position, ".", reference, dice.choice(("A", "C", "ACGTG", "N", "g"))))
    source = variants(tmp_path, genome, lines, width)
    rows = list(source.rows())
    assert source.check() == len(rows) == len(lines)
    scored = 0
    for row, (_, position, _, reference, alternative) in zip(rows, lines, strict=True):
        assert row.fields == ("c", position, ".", reference, alternative, "+")
        first = position - 1
        changed = _BASES[:first] + alternative.upper() + _BASES[first + len(reference) :]
        start = first - (width - len(reference)) // 2
        fits = start >= 0 and start + width <= min(len(_BASES), len(changed))
        if max(len(reference), len(alternative)) > width:
            assert "longer than a window" in row.reason
        elif not fits:
            assert row.reason == "a window reaches beyond the chromosome"
        elif width == 1 and alternative == "N":
            assert row.reason == "every base is N"
        else:
            assert row.sequences == (_BASES[start : start + width], changed[start : start + width])
            scored += 1
    assert scored > 20


def test_each_alternative_has_a_row_and_those_without_bases_a_reason(genome, tmp_path):
    rows = list(variants(tmp_path, genome, [("c", 50, "rs1", _BASES[49], "A,<DEL>,*,TT")]).rows())
    assert [row.fields[4] for row in rows] == ["A", "<DEL>", "*", "TT"]
    assert [bool(row.reason) for row in rows] == [False, True, True, False]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("c", 50, ".", "ACGT"[("ACGT".index(_BASES[49]) + 1) % 4], "A"), "and the genome has"),
        (("c", 90, ".", _BASES[89] + "A", "A"), "and the genome has 90 bases"),
        (("c", 0, ".", "A", "C"), "POS is '0'"),
        (("c", "x", ".", "A", "C"), "POS is 'x'"),
        (("c", 5, ".", "R", "C"), "REF is 'R'"),
        (("chr1", 5, ".", "A", "C"), "the genome has no chromosome 'chr1'"),
    ],
)
def test_a_bad_variant_is_refused_with_its_line(genome, tmp_path, line, said):
    source = variants(tmp_path, genome, [("c", 1, ".", _BASES[0], "A"), line])
    with pytest.raises(DataError, match=said) as refusal:
        source.check()
    assert refusal.value.where.endswith("v.vcf, line 5") and refusal.value.fix


def test_what_is_no_vcf_is_refused(genome, tmp_path):
    (tmp_path / "v.vcf").write_text("c\t1\t.\tA\tC\n", "utf-8")
    (tmp_path / "w.vcf").write_text("##fileformat=VCFv4.2\nc\t1\t.\tA\tC\n", "utf-8")
    for name, said in (("v.vcf", "not a VCF file"), ("w.vcf", "5 fields in place of 8")):
        with pytest.raises(DataError, match=said):
            source_of(tmp_path / name, genome, Reading(width=5)).check()
