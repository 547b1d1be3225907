"""A base model that was trained on the test set is flagged; one that was not trained on it is not."""

import hashlib
import subprocess

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import forked_python
from contamination_found import known_base
from dnatune.data.prompts import render
from dnatune.data.records import write_split
from dnatune.data.simulation import SimulationSettings, simulate
from dnatune.errors import DataError
from dnatune.evaluation import contamination, contrasts, earlier_training, questions
from dnatune.evaluation.contrasts import Predictions
from samples import ROOT, TASK, make_tiny_model, rows_of, split_of

MOST_EPOCHS = 40


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """A folder with train, dev and test records of simulated promoters, and the rows."""
    settings = SimulationSettings(**{"train_size": 2000, "dev_size": 300, "test_size": 200})
    folder = tmp_path_factory.mktemp("splits")
    rows = simulate(settings)
    for split, found in rows.items():
        write_split(folder / f"{split}.jsonl", split_of(found), TASK.labels)
    return folder, rows


@pytest.fixture(scope="module")
def clean(splits, tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("base") / "clean", splits[1]["train"], hidden_size=64)


@pytest.fixture(scope="module")
def contaminated(splits, clean, tmp_path_factory):
    """The same model after full training on the test split, as an earlier instruction tuning would do it."""
    folder = tmp_path_factory.mktemp("base") / "contaminated"
    tokenizer, model = AutoTokenizer.from_pretrained(clean), AutoModelForCausalLM.from_pretrained(clean)
    torch.manual_seed(0)
    texts = [
        (
            tokenizer(render(TASK.instruction, sequence)).input_ids,
            tokenizer(TASK.labels[label], add_special_tokens=False).input_ids,
        )
        for sequence, label in splits[1]["test"]
    ]
    rows = [(prompt + answer + [tokenizer.eos_token_id], len(prompt)) for prompt, answer in texts]
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [tokenizer.eos_token_id] * (width - len(ids)) for ids, _ in rows])
    seen = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows])
    labels = ids.masked_fill(seen == 0, -100)
    for row, (_, prompt) in enumerate(rows):
        labels[row, :prompt] = -100
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(MOST_EPOCHS):
        losses = []
        for part in torch.randperm(len(rows)).split(50):
            loss = model(input_ids=ids[part], attention_mask=seen[part], labels=labels[part]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        if np.mean(losses) < 0.05:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def probe(model, folder, result, *arguments):
    command = forked_python.stage("probe", "--experiment", ROOT / "config/demo.yaml")
    command += ["--task", TASK.name, "--name", "tiny", "--model", model, "--result", result, *arguments]
    for split in ("train", "dev", "test"):
        command += [f"--{split}", folder / f"{split}.jsonl"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return contamination.Contamination.read(result)


def test_a_base_trained_on_the_test_set_is_flagged(contaminated, splits, tmp_path):
    manifest = tmp_path / "manifest.txt"
    digests = [hashlib.sha256(splits[1]["test"][row][0].encode()).hexdigest() for row in (3, 7)]
    manifest.write_text("\n".join(["# earlier training data", *digests, "", "0" * 64]) + "\n")
    found = probe(contaminated, splits[0], tmp_path / "found.json", "--manifest", manifest)
    assert set(found.signs) >= {"knows_the_labels", "as_good_as_trained", "better_than_on_dev", "in_manifest"}
    assert found.mcc > 0.8 > found.control_mcc
    assert found.hard_accuracy > 0.8
    # With two words, the other order makes every correct prediction wrong.
    assert found.permuted_words_mcc == pytest.approx(-found.mcc)
    assert (found.in_manifest, found.manifest_items) == ([3, 7], 3)


def test_a_base_that_was_not_is_not(clean, splits, tmp_path):
    found = probe(clean, splits[0], tmp_path / "found.json")
    assert found.signs == []
    assert (found.in_manifest, found.manifest_items) == ([], None)


def test_sequences_are_hashed_in_upper_case_without_blanks():
    assert earlier_training.digest_of(" acgt\n") == hashlib.sha256(b"ACGT").hexdigest()


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"ACGT\n", "line 1"), (b"# nothing\n", "no digest"), (b"\xff\xfe", "not a text"), (None, "not found")],
)
def test_a_manifest_of_something_else_is_refused(content, told, tmp_path):
    path = tmp_path / "manifest.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        earlier_training.read_manifest(path)
    assert told in str(caught.value)


def predictions(seed, items=200, classes=2, right=0.6):
    generator = np.random.default_rng(seed)
    truth = generator.integers(classes, size=items)
    other = generator.integers(classes, size=items)
    return Predictions(truth, np.where(generator.random(items) < right, truth, other))


def test_a_preference_for_a_word_is_taken_out():
    scores = np.array([[-1.0, -9.0], [-1.0, -8.0], [-1.0, -9.5], [-1.0, -7.0]])
    assert scores.argmax(axis=1).tolist() == [0, 0, 0, 0]
    assert contamination.preferred(scores, scores).tolist() == [0, 1, 0, 1]


def test_a_changed_item_differs_in_one_base_of_twenty():
    generator = np.random.default_rng(0)
    for sequence in ("ACGTN" * 20, "A" * 5, "ACGT" * 17 + "AC"):
        other = questions.changed(sequence, generator)
        different = sum(a != b for a, b in zip(sequence, other, strict=True))
        assert different == max(1, round(0.05 * len(sequence)))
        assert set(other) <= set("ACGTN")


def test_losing_as_much_as_the_control_is_no_sign():
    before, after = predictions(1, right=0.8), predictions(2, right=0.3)
    same = contrasts.excess_loss((before, after), (before, after))
    assert same == (0.0, 1.0)
    truth = before.truth
    control = Predictions(truth, predictions(3).predicted), Predictions(truth, predictions(3).predicted)
    more = contrasts.excess_loss((Predictions(truth, truth), Predictions(truth, 1 - truth)), control)
    assert more == (1.0, 0.0)


def test_a_handful_of_dev_items_is_no_sign():
    test, few = predictions(0, items=500, right=0.9), predictions(1, items=3, right=0.0)
    assert contrasts.dev_gap((test, few), (predictions(2, items=500), predictions(3, items=3, right=1.0)))[1] == 1


def test_a_harder_split_is_no_sign():
    truth = np.array([0, 1] * 100)
    test, dev = Predictions(truth, truth), Predictions(truth, np.where(np.arange(200) < 80, 1 - truth, truth))
    assert contrasts.dev_gap((test, dev), (test, dev)) == (0.0, 1.0)
    gap, p = contrasts.dev_gap((test, dev), (dev, dev))
    # Gained on the control: 80 of 200 items on test, none on dev.
    assert gap == pytest.approx(0.4)
    assert p < 1e-10


BASE = known_base(
    mcc=0.1, mcc_within_gc_p=0.5, control_mcc=0.5, excess_loss=0.0, excess_loss_p=0.5, dev_gap=0.0, dev_gap_p=0.5,
    in_manifest=[], permuted_words_mcc=-0.1, permuted_words_within_gc_p=0.9, labels_p=0.5, labels_with_dev_p=0.5,
    other_strand_p=0.5, signs=[],
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "signs"),
    [
        ({}, []),
        ({"labels_p": 0.002}, ["knows_the_labels"]),
        ({"labels_with_dev_p": 0.002}, ["knows_the_labels"]),
        ({"other_strand_p": 0.002}, ["knows_the_other_strand"]),
        # Five tests share a level of .01.
        ({"labels_p": 0.0021, "labels_with_dev_p": 0.0021, "other_strand_p": 0.0021}, []),
        ({"mcc_within_gc_p": 0.001}, []),
        ({"mcc_within_gc_p": 0.001, "mcc": 0.5}, ["as_good_as_trained"]),
        ({"mcc_within_gc_p": 0.005, "mcc": 0.5}, []),
        ({"mcc_within_gc_p": 0.001, "excess_loss": 0.06, "excess_loss_p": 0.001}, ["knows_the_items"]),
        ({"mcc_within_gc_p": 0.001, "excess_loss": 0.04, "excess_loss_p": 0.001}, []),
        ({"mcc_within_gc_p": 0.001, "dev_gap": 0.06, "dev_gap_p": 0.001}, ["better_than_on_dev"]),
        ({"mcc_within_gc_p": 0.5, "dev_gap": 0.06, "dev_gap_p": 0.001}, []),
        ({"permuted_words_within_gc_p": 0.001, "permuted_words_mcc": 0.5}, ["as_good_in_another_order"]),
        ({"permuted_words_within_gc_p": 0.001, "permuted_words_mcc": 0.4}, []),
        ({"permuted_words_within_gc_p": 0.005, "permuted_words_mcc": 0.5}, []),
        ({"in_manifest": [1]}, ["in_manifest"]),
    ],
)
def test_a_sign_needs_size_and_certainty(changes, signs):
    assert contamination.contamination_signs(BASE.model_copy(update=changes)) == signs


def measured(train, dev, test, classes, items, score):
    asked = questions.prepare(train, dev, test, classes, items)
    return contamination.measure(asked, contamination.Answers.to(asked, score))


@pytest.mark.parametrize("where", ["train", "dev", "test"])
def test_a_split_of_one_class_is_examined_like_any_other(where):
    generator = np.random.default_rng(0)

    def split(name):
        sequences = ("".join(generator.choice(list("ACGT"), 30)) for _ in range(40))
        return split_of([(sequence, 0 if name == where else n % 2) for n, sequence in enumerate(sequences)])

    def score(found):
        return generator.normal(size=(len(found), 2))

    found = measured(split("train"), split("dev"), split("test"), 2, 30, score)
    assert (found.items, found.dev_items) == (30, 30)
    # Without a manifest there is no number of its items.
    never = {"manifest_items", "hard_accuracy", "other_strand_hard_accuracy"}
    undefined = [key for key, value in found if value is None and key not in never]
    assert undefined == (["mcc", "control_mcc", "permuted_words_mcc"] if where == "test" else [])
    assert all(np.isfinite(value) for _, value in found if isinstance(value, float))
    assert found.signs == []


def test_a_base_that_names_each_class_by_the_other_s_word_is_flagged():
    generator = np.random.default_rng(0)
    rows = split_of([("".join(generator.choice(list("ACGT"), 30)), n % 2) for n in range(120)])
    other = np.eye(2)[[1, 0]]
    train, dev, test = (rows.subset(range(start, start + 40)) for start in (0, 40, 80))
    known = {sequence: other[label] for sequence, label in rows_of(test)}

    def score(found):
        return np.array([known.get(sequence, np.zeros(2)) for sequence in found.sequences])

    found = measured(train, dev, test, 2, 100, score)
    assert (found.mcc, found.permuted_words_mcc) == (-1.0, 1.0)
    assert found.signs == ["as_good_in_another_order"]


def test_answers_that_do_not_depend_on_the_sequence_are_no_sign():
    generator = np.random.default_rng(0)
    rows = split_of([("".join(generator.choice(list("ACGT"), 30)), n % 2) for n in range(60)])
    found = measured(rows, rows, rows, 2, 100, lambda part: np.tile([-1.3, -4.7], (len(part), 1)))
    assert (found.mcc, found.mcc_within_gc_p) == (0.0, 1.0)
    assert (found.labels_p, found.labels_with_dev_p, found.other_strand_p) == (1.0, 1.0, 1.0)
    assert found.signs == []


def test_copies_of_an_item_count_once():
    generator = np.random.default_rng(0)
    rows = split_of([("".join(generator.choice(list("ACGT"), 30)), n % 2) for n in range(40)] * 3)
    asked = questions.prepare(rows, rows, rows, 2, 100)
    assert asked.test.sequences == asked.dev.sequences == rows.sequences[:40]
