"""Twins by segment substitution: against a brute force, and against another implementation on real data."""

import itertools
import random

import pytest

import dnatune.data.positional_twins
from dnatune.data.positional_twins import Twins, distinct, rows_with_twins, twins
from dnatune.data.records import read_csv
from samples import TASK, rows_of, split_of


def substituted(sequence, rng, keep, size=10):
    """Some segments of a sequence in place, the others at random."""
    segments = [sequence[start : start + size] for start in range(0, len(sequence), size)]
    kept = set(rng.sample(range(len(segments)), keep))
    return "".join(
        part if number in kept else "".join(rng.choices("ACGT", k=len(part))) for number, part in enumerate(segments)
    )


def brute_force(splits):
    """Pairs of (test row, training sequence) by the definition, the slow way."""
    found = []
    for row, (one, _) in enumerate(rows_of(splits["test"])):
        for other in splits["train"].sequences:
            if len(one) == len(other) and one != other:
                shared = sum(
                    one[i : i + 12] == other[i : i + 12] and "N" not in one[i : i + 12] for i in range(len(one) - 11)
                )
                alike = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
                if shared >= 3 and alike >= 0.4:
                    found.append((row, other))
    return found


def rows_of_test(splits):
    test, train = splits["test"].sequences, splits["train"].sequences
    return rows_with_twins(test, train, distinct(splits.values())).tolist()


def test_pairs_are_those_of_a_brute_force():
    rng = random.Random(3)
    train = ["".join(rng.choices("ACGTN" if n % 9 == 0 else "ACGT", k=rng.choice([70, 100]))) for n in range(80)]
    test = [substituted(rng.choice(train), rng, keep=rng.choice([1, 2, 3, 5])) for _ in range(80)]
    test += [train[0], train[1][:-1], "ACGT", "ACGTACGTACGT"]
    splits = {
        "train": split_of([(sequence, n % 2) for n, sequence in enumerate(train)]),
        "dev": split_of([]),
        "test": split_of([(sequence, n % 3 % 2) for n, sequence in enumerate(test)]),
    }
    expected = brute_force(splits)
    found = twins(splits)
    assert rows_of_test(splits) == sorted({row for row, _ in expected})
    assert found.pairs == len(expected) > 20
    labels = dict(rows_of(splits["train"]))
    opposite = [splits["test"].labels[row] != labels[other] for row, other in expected]
    assert found.opposite == pytest.approx(sum(opposite) / len(opposite))


def test_a_piece_that_many_have_at_one_place_is_a_repeat():
    rng = random.Random(5)
    piece = "ACGTTGCATGCCATAGCATT"
    rows = split_of([(piece + "N" + "".join(rng.choices("ACGT", k=19)), 0) for _ in range(30)])
    test = rows.subset(range(25, 30))
    many = twins({"train": rows.first(25), "dev": rows.first(0), "test": test})
    assert many == Twins(pairs=0, opposite=None)
    splits = {"train": rows.first(10), "dev": rows.first(0), "test": test}
    assert twins(splits) == Twins(pairs=50, opposite=0.0)
    assert rows_of_test(splits) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("task", "rows"), [("prom_core_all", 3615), ("prom_core_tata", 41), ("human_tf_0", 152)])
def test_real_data_have_as_many_as_another_implementation_finds(task, rows, shared):
    """`positional_twins` of seqleak 0.4.1, over the unique sequences of all splits; those in training are counted."""
    splits = {split: read_csv(shared / "GUE/GUE" / task / f"{split}.csv", TASK) for split in ("train", "dev", "test")}
    found = twins(splits)
    assert len(rows_of_test(splits)) == rows
    if task == "prom_core_all":
        # Negatives were made from positives.
        assert found.opposite > 0.7


def test_too_much_to_look_through_is_withheld(monkeypatch):
    monkeypatch.setattr(dnatune.data.positional_twins, "MOST_BASES", 100)
    rows = split_of([("ACGT" * 10, 0)])
    assert twins({"train": rows, "dev": rows, "test": rows}) == Twins(pairs=None, opposite=None)


def test_one_length_and_nothing_in_common():
    rng = random.Random(1)
    sequences = ["".join(rng.choices("ACGT", k=70)) for _ in range(40)]
    assert not any(len(set(a) & set(b)) == 0 for a, b in itertools.pairwise(sequences))
    rows = {"train": [(s, 0) for s in sequences[:20]], "dev": [], "test": [(s, 1) for s in sequences[20:]]}
    splits = {name: split_of(found) for name, found in rows.items()}
    assert rows_of_test(splits) == []
