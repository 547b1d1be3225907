"""The audit: against a brute force over all pairs, on real data, and what each answer to a leak does."""

import random
import time

import pytest

from dnatune.data import leakage, near_copies
from dnatune.data.records import read_csv
from dnatune.errors import DataError
from dnatune.settings.tasks import Task
from samples import rows_of, split_of

OTHER = str.maketrans("ACGT", "TGCA")
MINE = Task("mine", ("no", "yes", "perhaps"), "Is it one?")


def words(sequence, k=12):
    """The set of words of k bases, each with its reverse complement as one, written the slow way."""
    found = set()
    for start in range(len(sequence) - k + 1):
        word = sequence[start : start + k]
        if set(word) <= set("ACGT"):
            found.add(min(word, word.translate(OTHER)[::-1]))
    return found


def alike(first, second, similarity):
    a, b = words(first), words(second)
    return bool(a and b) and len(a & b) / len(a | b) >= similarity


def mutated(sequence, rng, changes):
    bases = list(sequence)
    for place in rng.sample(range(len(bases)), changes):
        bases[place] = rng.choice("ACGTN")
    return "".join(bases)


@pytest.fixture
def splits():
    """Random sequences of several lengths, with copies, other strands and mutants of one another, short ones and N."""
    rng = random.Random(7)
    train = ["".join(rng.choices("ACGT", k=rng.choice([8, 12, 40, 70]))) for _ in range(120)]
    train[3] = train[1]
    kinds = [
        lambda one: one,
        lambda one: one.translate(OTHER)[::-1],
        lambda one: mutated(one, rng, 1),
        lambda one: mutated(one, rng, 4),
        lambda one: one[3:] + "ACG",
        lambda one: "".join(rng.choices("ACGT", k=70)),
    ]
    derived = [rng.choice(kinds)(rng.choice(train)) for _ in range(160)]
    rows = {"train": train, "dev": derived[:80], "test": derived[80:]}
    return {name: split_of([(sequence, rng.randrange(2)) for sequence in found]) for name, found in rows.items()}


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.9, 1.0])
def test_every_count_is_that_of_a_brute_force(splits, similarity):
    found = leakage.examine(splits, similarity)
    only = {name: split.sequences for name, split in splits.items()}
    for split, other in (("dev", "train"), ("test", "train"), ("test", "dev")):
        kinds = found.shared[split][other]
        expected = {
            "copies": lambda one, rows: one in rows,
            "reverse_complements": lambda one, rows: one.translate(OTHER)[::-1] in rows,
            "near_copies": lambda one, rows: any(alike(one, row, similarity) for row in rows),
            "shared_words": lambda one, rows: any(words(one, 30) & words(row, 30) for row in rows),
        }
        for kind, is_one in expected.items():
            rows = getattr(kinds, kind)
            assert rows == [i for i, one in enumerate(only[split]) if is_one(one, only[other])], (split, kind)
            assert rows or similarity == 1
    labels = {}
    for split in splits.values():
        for sequence, label in rows_of(split):
            labels.setdefault(sequence, set()).add(label)
    assert found.contradicting == sum(len(one) == 2 for one in labels.values()) > 0
    assert found.repeats["train"] == len(only["train"]) - len(set(only["train"])) > 0
    assert found.rows == {"train": 120, "dev": 80, "test": 80}


def test_dropping_leaves_no_copy_and_the_test_split(splits):
    kept, report = leakage.apply("drop", 0.5, splits, MINE)
    assert kept["test"] == splits["test"]
    assert report.leaked == {"dev": [], "test": []}
    again = leakage.examine(kept, 0.5)
    assert again.leaked_rows("test") == again.leaked_rows("dev") == []
    assert min(report.dropped.values()) > 0
    assert report.dropped == {split: len(splits[split]) - len(kept[split]) for split in ("train", "dev")}
    # Nothing is dropped without need: each dropped row is alike some row of a later split.
    later = {"train": ("dev", "test"), "dev": ("test",)}
    for split, others in later.items():
        same = {sequence for other in others for sequence in splits[other].sequences}
        for row in set(rows_of(splits[split])) - set(rows_of(kept[split])):
            strands = {row[0], row[0].translate(OTHER)[::-1]}
            assert strands & same or any(alike(row[0], one, 0.5) for one in same)


def test_dropping_covers_twins_and_shared_words_if_asked(splits):
    twin = splits["test"].sequences[0]
    kinds = ["twins", "shared_words"]
    kept, report = leakage.apply("drop", 0.5, splits, MINE, kinds)
    assert kept["test"] == splits["test"] and twin in kept["test"].sequences
    assert report.related == {"twins": [], "shared_words": []} and report.related_share == 0
    assert leakage.examine(kept, 0.5).leaked_rows("test", kinds) == []
    only_copies = leakage.apply("drop", 0.5, splits, MINE)[1]
    assert sum(report.dropped.values()) > sum(only_copies.dropped.values())
    leaked = len(only_copies.leaked_rows("test", kinds))
    assert leaked > len(only_copies.leaked_rows("test"))
    with pytest.raises(DataError, match=f"{leaked} of 80 test"):
        leakage.apply("fail", 0.5, splits, MINE, kinds)


def test_what_is_still_related_is_counted_over_the_prepared_test_items(splits):
    report = leakage.apply("report", 0.5, splits, MINE)[1]
    found = report.shared["test"]["train"]
    assert report.related == {"twins": found.twins, "shared_words": found.shared_words}
    assert report.related_share == len({*found.twins, *found.shared_words}) / 80 > 0


@pytest.mark.parametrize("on_leak", ["report", "drop"])
def test_the_classes_of_each_prepared_split_are_counted(splits, on_leak):
    kept, report = leakage.apply(on_leak, 0.5, splits, MINE)
    for split, counts in report.classes.items():
        labels = kept[split].labels
        assert counts == {"no": labels.count(0), "yes": labels.count(1), "perhaps": 0}
    assert report.classes.keys() == splits.keys()


def test_reporting_changes_nothing(splits):
    kept, report = leakage.apply("report", 0.5, splits, MINE)
    assert kept == splits
    assert report.dropped == {"train": 0, "dev": 0}
    assert report.leaked["test"] == leakage.examine(splits, 0.5).leaked_rows("test") != []


def test_failing_names_task_split_and_first_line(splits):
    # Row 0 stands below the header.
    first = leakage.examine(splits, 0.5).leaked_rows("test")[0] + 2
    with pytest.raises(DataError, match=f"of 80 test items, the first in line {first} of its file") as caught:
        leakage.apply("fail", 0.5, splits, MINE)
    assert "task mine" in str(caught.value) and "audit.on_leak: drop" in str(caught.value)
    rows = {"train": ("ACGT" * 10, 0), "dev": ("AACC" * 10, 0), "test": ("AATT" * 10, 1)}
    clean = {name: split_of([row]) for name, row in rows.items()}
    assert leakage.apply("fail", 0.5, clean, MINE)[0] == clean


def test_a_split_of_which_nothing_would_be_left_is_refused():
    same = split_of([("ACGTTGCAAT" * 5, 0)])
    with pytest.raises(DataError, match="every row of train"):
        leakage.apply("drop", 0.5, {"train": same, "dev": split_of([("AACC" * 10, 0)]), "test": same}, MINE)


def test_variants_of_one_genome_are_not_compared_and_the_report_says_so(splits, monkeypatch):
    monkeypatch.setattr(near_copies, "MOST_PAIRS", 10)
    found = leakage.examine(splits, 0.5)
    assert found.shared["test"]["train"].near_copies is None
    assert found.shared["test"]["train"].copies
    assert "variants of one another" in found.near_copies_withheld
    assert found.leaked_rows("test")


def test_core_promoters_have_the_copies_that_were_counted_by_hand(shared):
    """The counts were found by grouping the rows of the CSV files."""
    splits = {
        split: read_csv(shared / "GUE/GUE/prom_core_all" / f"{split}.csv", MINE) for split in ("train", "dev", "test")
    }
    began = time.process_time()
    found = leakage.examine(splits, 0.5)
    # Near-copies and twins included; seconds of the processor, for other work may share the machine.
    assert time.process_time() - began < 60
    assert len(found.shared["test"]["train"].copies) == 43
    assert len(found.shared["dev"]["train"].copies) == 54
    assert len(found.shared["test"]["dev"].copies) == 8
    assert found.repeats["train"] == 148
    assert found.contradicting == 64
    assert set(found.shared["test"]["train"].copies) <= set(found.shared["test"]["train"].near_copies)
