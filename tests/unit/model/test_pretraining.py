"""Pretraining of a tiny model: what it must not have seen, what it learns and what it does not learn."""

import itertools
import random

import pytest
import torch

from dnatune.data.prompts import encode_examples
from dnatune.data.sequences import reverse_complement
from dnatune.errors import DataError
from dnatune.files import sha256_of_file
from dnatune.model import base_models, label_likelihood, pretraining, scoring, sources
from dnatune.settings.sources import ModelSettings, Pretraining, TaskSettings, TinyModel
from samples import TASK, split_of

TINY = {"hidden_size": 32, "layers": 1, "intermediate_size": 64, "vocabulary": 420}
REPORTED = TaskSettings(name=TASK.name, labels=TASK.labels, instruction=TASK.instruction)


def drawn(count: int, seed: int, length: int = 70) -> list[str]:
    dice = random.Random(seed)
    return ["".join(dice.choices("ACGT", k=length)) for _ in range(count)]


def related(one: str, other: str) -> bool:
    """The rules of a relative, letter by letter: copy, other strand, a word of 30 bases of either strand, a twin."""
    words = {one[i : i + 30] for i in range(len(one) - 29)}
    for strand in (other, reverse_complement(other)):
        if words & {strand[i : i + 30] for i in range(len(strand) - 29)}:
            return True
    in_place = sum(one[i : i + 12] == other[i : i + 12] for i in range(len(one) - 11))
    return in_place >= 3 and sum(a == b for a, b in zip(one, other, strict=True)) >= 0.4 * len(one)


@pytest.fixture
def sequences():
    """Candidates among which every kind of relative of a test item is hidden, and the test items."""
    tests = {"first": drawn(20, 1), "second": drawn(20, 2)}
    others, some = drawn(6, 3), tests["first"]
    hidden = [some[0], reverse_complement(some[1]), others[0][:20] + some[2][10:45] + others[0][55:]]
    hidden += [others[1][:5] + reverse_complement(tests["second"][3])[30:62] + others[1][37:]]
    # Pieces of 14 bases in place: 3 words of 12 each, and four tenths of the bases.
    hidden += [some[4][:14] + others[2][14:28] + some[4][28:42] + others[2][42:56] + some[4][56:]]
    hidden += [tests["second"][5][:69] + "ACGT"["CGTA".index(tests["second"][5][69])]]
    return {"a": [*drawn(30, 4), *hidden[:3]], "b": [*hidden[3:], *drawn(30, 5)]}, tests, hidden


def test_every_relative_of_a_test_item_is_left_out_and_nothing_else(sequences):
    candidates, tests, hidden = sequences
    kept, left_out = pretraining.choose_sequences(candidates, tests, 1000, 0, 0.5)
    every = [*itertools.chain(*candidates.values())]
    expected = [one for one in every if not any(related(one, item) for items in tests.values() for item in items)]
    assert kept == expected
    assert set(every) - set(kept) == set(hidden)
    assert left_out == {"first": 4, "second": 2}
    assert pretraining.related_items(kept, tests, 0.5) == {"first": 0, "second": 0}
    # From the items' side they are found, too.
    assert pretraining.related_items(every, tests, 0.5) == {"first": 4, "second": 2}


def test_what_becomes_a_twin_when_others_are_left_out_is_left_out_too():
    """Of 22 sequences with the same pieces in place these are repeats; of 20 they make twins."""
    item, *others = drawn(22, 11)
    alike = [item[:14] + one[14:28] + item[28:42] + one[42:56] + item[56:] for one in others]
    tests = {"task": [item, *map(reverse_complement, alike[:2])]}
    unrelated = drawn(5, 12)
    kept, left_out = pretraining.choose_sequences({"a": [*alike, *unrelated]}, tests, 1000, 0, 0.5)
    assert kept == unrelated and left_out == {"task": 21}
    assert pretraining.related_items(kept, tests, 0.5) == {"task": 0}


def test_of_too_many_sequences_some_are_drawn(sequences):
    candidates, _, _ = sequences
    first, again = (pretraining.choose_sequences(candidates, {}, 25, seed, 0.5)[0] for seed in (7, 7))
    other, _ = pretraining.choose_sequences(candidates, {}, 25, 8, 0.5)
    assert first == again != other
    assert len(first) == len(set(first)) == 25


def test_nothing_left_is_refused(sequences):
    _, tests, _ = sequences
    with pytest.raises(DataError, match="all 20 sequences are relatives of test items"):
        pretraining.choose_sequences({"a": tests["first"]}, tests, 1000, 0, 0.5)


def pretrained(folder, steps):
    settings = ModelSettings(
        source="tiny",
        tiny=TinyModel(**TINY, pretrain=Pretraining(steps=steps, batch_size=16, learning_rate=1e-2)),
        reported=(REPORTED,),
        similarity=0.5,
    )
    # DNA with something to learn: only half of the words that could be.
    dice = random.Random(0)
    candidates = ["".join(dice.choices(["ACG", "TTA", "GGC", "CAT"], k=20)) for _ in range(300)]
    sources.write_pretrained(settings, {"a": candidates}, {TASK.name: drawn(20, 9, 60)}, folder)
    return pretraining.PretrainingRecord.read(folder / "pretraining.json"), candidates


def test_it_learns_dna_and_the_form_and_no_answer(tmp_path):
    early, _ = pretrained(tmp_path / "early", 1)
    record, candidates = pretrained(tmp_path / "late", 60)
    assert (record.steps, record.sequences, record.left_out) == (60, 300, {TASK.name: 0})
    assert record.loss < 0.5 * early.loss
    model, tokenizer = base_models.load_whole(tmp_path / "late", torch.float32)
    split = split_of([(sequence, 0) for sequence in candidates[:40]])
    examples = encode_examples(tokenizer, split, TASK.labels, 512, "test")
    scores = torch.tensor(
        scoring.label_log_probabilities(label_likelihood.LabelLikelihood(model), examples, range(40), 8, True, "cpu")
    )
    # It answers with a label and does not know which.
    assert scores.exp().sum(dim=1).min() > 0.7
    assert (scores.softmax(dim=1) - 0.5).abs().max() < 0.2


def test_the_same_settings_give_the_same_weights(tmp_path):
    for name in ("one", "two"):
        pretrained(tmp_path / name, 3)
    one, two = (sha256_of_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one == two
