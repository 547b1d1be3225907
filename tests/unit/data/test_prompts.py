"""Text becomes ids in one place; what is scored is what was trained on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dnatune.data.prompts import common_prefix_length, encode_examples, encode_labels, render
from dnatune.data.records import read_csv
from dnatune.errors import DataError, ModelError
from dnatune.model import base_models
from dnatune.model.shared_prefix.packing import pack_scoring, pack_training
from samples import TASK, make_tiny_model, split_of


@pytest.fixture(scope="module", params=["tiny", "dnahl-llama"])
def tokenizer(request, tmp_path_factory, simulated_rows):
    if request.param == "tiny":
        return base_models.load_tokenizer(make_tiny_model(tmp_path_factory.mktemp("prompts") / "tiny", simulated_rows))
    return base_models.load_tokenizer(request.getfixturevalue("shared") / "tokenizers/dnahl-llama")


def sequences_of_row(batch):
    """The root-to-leaf token sequence of each token of a shared row, read back from ids, positions and masks alone."""
    ids, positions = batch.input_ids[0].tolist(), batch.position_ids[0].tolist()
    prefix = start = batch.groups[0].prefix
    found = [[(positions[j], ids[j]) for j in range(i + 1)] for i in range(prefix)]
    for group in batch.groups:
        place = {slot: start + number for number, slot in enumerate(group.slots.tolist())}
        start += len(place)
        for slot in place:
            example, row = divmod(slot, group.own)
            seen = group.mask[example, 0, row].nonzero()[:, 0].tolist()
            places = [j if j < prefix else place[example * group.own + j - prefix] for j in seen]
            found.append([(positions[j], ids[j]) for j in places])
    return found


def test_ids_scored_are_ids_trained_on(tokenizer, simulated_rows):
    rows = simulated_rows[:9]
    examples = encode_examples(tokenizer, split_of(rows), TASK.labels, 512, "rows")
    trained, scored = (pack(examples, range(9), True) for pack in (pack_training, pack_scoring))
    for number, (sequence, label) in enumerate(rows):
        # The oracle is the tokenizer itself on the whole text's two parts.
        prompt = tokenizer(render(TASK.instruction, sequence)).input_ids
        answer = [*tokenizer(TASK.labels[label], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        assert examples.prompt(number) == prompt
        assert examples.answer(number) == answer
        for batch, owner in ((trained, number), (scored, number * 2 + label)):
            places = (batch.owners == owner).nonzero()[:, 0]
            assert batch.targets[places].tolist() == answer
            seen = sequences_of_row(batch)[batch.columns[places[-1]]]
            assert [token for _, token in seen] == prompt + answer[:-1]
            assert [position for position, _ in seen] == list(range(len(prompt) + len(answer) - 1))


def test_real_tokenizer_has_the_lengths_measured_elsewhere(shared):
    tokenizer = base_models.load_tokenizer(shared / "tokenizers/dnahl-llama")
    test = read_csv(shared / "GUE/GUE/prom_core_all/test.csv", TASK)
    examples = encode_examples(tokenizer, test, TASK.labels, 512, "rows")
    assert len(examples.prefix) == 60
    # "\n", "\n", "##", "#", "Response", ":", " " follow the DNA.
    lengths = [len(example) - 7 for example in examples.examples]
    assert sum(lengths) / len(lengths) == pytest.approx(13.5, abs=1)
    assert sorted(map(len, examples.labels)) == [3, 5]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=6))
def test_common_prefix_by_brute_force(sequences):
    length = common_prefix_length(sequences)
    assert all(s[:length] == sequences[0][:length] and len(s) > length for s in sequences)
    longer = [s[: length + 1] for s in sequences]
    assert any(len(s) == length + 1 for s in sequences) or any(s != longer[0] for s in longer)


def test_label_that_does_not_fit_is_named(tokenizer, simulated_rows):
    split = split_of([("ACG", 0), ("ACGT" * 60, 1)])
    fits = len(tokenizer(render(TASK.instruction, "ACG")).input_ids) + 5
    with pytest.raises(DataError) as caught:
        encode_examples(tokenizer, split, TASK.labels, fits, "train.jsonl")
    assert "does not fit" in caught.value.what and "train.jsonl, line 2" in caught.value.where
    assert "max_seq_length" in caught.value.fix
    # Without a limit the data decide, and nothing is cut.
    long = encode_examples(tokenizer, split, TASK.labels, None, "train.jsonl")
    assert long.longest_prompt == len(tokenizer(render(TASK.instruction, "ACGT" * 60)).input_ids) > fits


def test_labels_of_equal_tokens_are_refused(tokenizer):
    with pytest.raises(ModelError, match="same token ids"):
        encode_labels(tokenizer, ["site", "other", "site"])


def test_label_that_begins_another_is_told_apart_by_its_end(tokenizer):
    short, long = encode_labels(tokenizer, ["promoter", "promoter promoter"])
    assert long[: len(short) - 1] == short[:-1] and long != short and short[-1] == tokenizer.eos_token_id


@pytest.fixture(scope="module")
def dna_alone():
    """A tokenizer with the words of DNA and no others, which splits at white space."""
    words = ["[UNK]", "[SEP]", *"ACGTN", "site"]
    bpe = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    bpe.pre_tokenizer = pre_tokenizers.Whitespace()
    # tokenizer_config.json need not say what is unknown; the file of the tokenizer does.
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="[SEP]")  # noqa: S106


def test_a_label_that_the_tokenizer_does_not_know_is_refused(dna_alone):
    with pytest.raises(ModelError, match="does not know the label 'promoter', 'no site'"):
        encode_labels(dna_alone, ["site", "promoter", "no site"])
    with pytest.raises(ModelError, match="does not know the label ' '"):
        encode_labels(dna_alone, ["site", " "])
    assert encode_labels(dna_alone, ["A", "site"]) == [[2, 1], [7, 1]]


def test_the_share_of_unknown_tokens_in_prompts_is_counted(dna_alone, tokenizer, simulated_rows, caplog):
    rows = [("A", 0), ("ACGT", 1)]
    examples = encode_examples(dna_alone, split_of(rows), ["A", "site"], 512, "train.jsonl")
    prompts = [dna_alone(render(TASK.instruction, sequence)).input_ids for sequence, _ in rows]
    share = sum(ids.count(0) for ids in prompts) / sum(map(len, prompts))
    assert 0.9 < share < 1 and examples.unknown_share == pytest.approx(share, abs=1e-12)
    assert f"the tokenizer does not know {100 * share:.3g} % of the tokens of the prompts in train.jsonl" in caplog.text
    known = encode_examples(tokenizer, split_of(simulated_rows[:5]), TASK.labels, 512, "rows")
    assert known.unknown_share == 0


def test_a_tokenizer_with_one_special_token_for_everything_knows_all(tokenizer, simulated_rows):
    """As GPT-2's, whose bytes cover any text."""
    end = tokenizer.eos_token
    same = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        bos_token=end,
        eos_token=end,
        unk_token=end,
    )
    assert encode_labels(same, TASK.labels) == encode_labels(tokenizer, TASK.labels)
    assert encode_examples(same, split_of(simulated_rows[:3]), TASK.labels, 512, "rows").unknown_share == 0
