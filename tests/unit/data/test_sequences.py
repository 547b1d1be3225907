"""DNA as numbers: against the slow way, on any text over the alphabet."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnatune.data.sequences import BASES, base_codes, gc_content, reverse_complement, sequence_of, word_numbers
from dnatune.data.sequences import word_sets as sets_of_words

DNA = st.text("ACGTN", max_size=40)


@given(st.text("ACGT", max_size=40))
def test_codes_are_read_back(sequence):
    assert sequence_of(base_codes(sequence)) == sequence


def test_what_is_no_base_has_a_code_of_its_own():
    assert base_codes("ACGTNacgt\u00e9").tolist() == [0, 1, 2, 3, *[4] * 6]


@pytest.mark.parametrize(
    ("sequence", "share"), [("GCGC", 1), ("ATGC", 0.5), ("NNNG", 1), ("ATNN", 0), ("NNNN", 0), ("", 0)]
)
def test_gc_content(sequence, share):
    assert gc_content(sequence) == share


@given(DNA)
def test_the_other_strand_of_the_other_strand(sequence):
    other = reverse_complement(sequence)
    assert reverse_complement(other) == sequence
    assert sorted(other.translate(str.maketrans("ACGT", "TGCA"))) == sorted(sequence)


@given(st.lists(DNA.filter(lambda sequence: len(sequence) >= 20), min_size=1, max_size=3), st.integers(1, 5))
def test_words_in_place(sequences, k):
    codes = np.stack([base_codes(sequence[:20]) for sequence in sequences])
    numbers, known = word_numbers(codes, k)
    order = {"".join(word): number for number, word in enumerate(itertools.product(BASES, repeat=k))}
    for row, sequence in enumerate(sequences):
        words = [sequence[start : start + k] for start in range(20 - k + 1)]
        assert known[row].tolist() == ["N" not in word for word in words]
        assert [int(n) for n, one in zip(numbers[row], known[row], strict=True) if one] == [
            order[word] for word in words if "N" not in word
        ]


@given(st.lists(DNA, max_size=8), st.integers(1, 5), st.sampled_from([1, 30, 1 << 20]))
def test_sets_of_words(sequences, k, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dnatune.data.sequences._BLOCK", block)
        owners, numbers = sets_of_words(sequences, k)
    order = {"".join(word): number for number, word in enumerate(itertools.product(BASES, repeat=k))}
    expected = []
    for owner, sequence in enumerate(sequences):
        words = {sequence[start : start + k] for start in range(len(sequence) - k + 1)}
        least = {min(order[word], order[reverse_complement(word)]) for word in words if "N" not in word}
        expected += [(owner, number) for number in sorted(least)]
    assert list(zip(owners.tolist(), numbers.tolist(), strict=True)) == expected
