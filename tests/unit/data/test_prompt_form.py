"""The form of prompts follows from the settings and the vocabulary; models of text get the prompts that they got."""

import hashlib

import pytest

from dna_models import (
    words,
    write_character_tokenizer,
    write_esm_tokenizer,
    write_hybrid_tokenizer,
    write_kmer_tokenizer,
)
from dnatune.data.prompt_form import TEMPLATE, PromptForm
from dnatune.data.prompts import encode_examples, render
from dnatune.errors import ConfigurationError, DataError
from dnatune.model.base_models import load_tokenizer
from dnatune.settings.prompt import PromptSettings
from samples import TASK, split_of

#: SHA-256 of a prompt of prom_core_all, written out by hand when the template was the only one.
GOLDEN = "aeb0c8499c4fe99f3023f0b0febcd91a85c001f4b24f63fd83093632953fce8f"


@pytest.fixture(scope="module")
def kmers(tmp_path_factory):
    return load_tokenizer(write_kmer_tokenizer(tmp_path_factory.mktemp("kmers")))


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    return load_tokenizer(write_character_tokenizer(tmp_path_factory.mktemp("characters")))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    return load_tokenizer(write_hybrid_tokenizer(tmp_path_factory.mktemp("hybrid")))


def test_models_of_text_get_the_prompts_that_they_always_got(tiny_model, shared):
    text = render(TASK.instruction, "ACGTNACG")
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN
    for folder in (tiny_model, shared / "tokenizers/dnahl-llama"):
        form = PromptForm.of(load_tokenizer(folder))
        assert form == PromptForm()
        assert form.text(TASK.instruction, "ACGTNACG") == text and form.words(TASK.labels) == list(TASK.labels)


def test_a_vocabulary_of_dna_alone_gets_the_sequence_alone(kmers, characters):
    form = PromptForm.of(kmers)
    assert (form.template, form.remainder, form.word_length) == ("sequence", "pad_left", 6)
    assert form.text(TASK.instruction, "CCGGTTAC") == "AAAACCGGTTAC"
    assert form.words(["a", "b", "c", "d"]) == ["<sp0>", "<sp1>", "<sp2>", "<bog>"]
    form = PromptForm.of(characters)
    assert form.text(TASK.instruction, "CCGGTTAC") == "CCGGTTAC"
    assert form.words(["a", "b", "c"]) == ["[RESERVED]", "A", "C"]


@pytest.mark.parametrize(
    ("known", "ids"), [("ATCGN", [3, 4, 6, 7, 5, 8]), ([*words(3), *"ATCGN"], [3, 15, 69, 72])], ids=["bases", "3-mers"]
)
def test_a_vocabulary_of_dna_that_transformers_reads_gets_the_sequence_too(tmp_path, known, ids):
    """The class cuts a rest, and a word with N, into single bases, which are in the vocabulary."""
    tokenizer = load_tokenizer(write_esm_tokenizer(tmp_path, known))
    form = PromptForm.of(tokenizer)
    assert (form.template, form.remainder) == ("sequence", "keep")
    examples = encode_examples(tokenizer, split_of([("ACGTN", 0), ("TT", 1)]), TASK.labels, 64, "rows")
    assert examples.prompt(0) == ids
    assert examples.labels == [[4, tokenizer.eos_token_id], [5, tokenizer.eos_token_id]]


def test_text_with_kmers_gets_tags_and_words(hybrid):
    form = PromptForm.of(hybrid)
    assert form.text("Which?", "ACGTACG") == TEMPLATE.format(instruction="Which?", input="<dna>ACGTACG</dna>")
    assert form.words(TASK.labels) == list(TASK.labels)
    alone = PromptForm.of(hybrid, PromptSettings(template="sequence", remainder="pad_left"))
    assert alone.text("Which?", "ACGTACG") == "<dna>AAAAAACGTACG</dna>"
    assert alone.words(TASK.labels) == list(TASK.labels)


@pytest.mark.parametrize(
    ("remainder", "made"),
    [
        ("keep", "CCGGTTAC"),
        ("pad_left", "AAAACCGGTTAC"),
        ("pad_right", "CCGGTTACAAAA"),
        ("trim_left", "GGTTAC"),
        ("trim_right", "CCGGTT"),
    ],
)
def test_what_becomes_of_a_rest(kmers, remainder, made):
    form = PromptForm.of(kmers, PromptSettings(remainder=remainder))
    assert form.text("", "CCGGTTAC") == made
    assert form.text("", "CCGGTT") == "CCGGTT"


def test_everything_can_be_configured(kmers):
    chosen = PromptSettings.read({"template": "sequence", "wrapper": ["<bog>", "<s>"], "answers": ["<+>", "<->"]})
    form = PromptForm.of(kmers, chosen)
    assert form.text("Which?", "ACGTAC") == "<bog>ACGTAC<s>" and form.words(["no", "yes"]) == ["<+>", "<->"]
    examples = encode_examples(kmers, split_of([("ACGTAC", 0), ("GG", 1)]), TASK.labels, 512, "rows", prompt=chosen)
    bog, start, end = (kmers.convert_tokens_to_ids(token) for token in ("<bog>", "<s>", "</s>"))
    plus, minus, word, padded = (kmers.convert_tokens_to_ids(token) for token in ("<+>", "<->", "ACGTAC", "AAAAGG"))
    assert [examples.prompt(row) for row in (0, 1)] == [[start, bog, word, start], [start, bog, padded, start]]
    assert [examples.answer(row) for row in (0, 1)] == [[plus, end], [minus, end]]


def test_what_does_not_fit_is_refused(kmers, tiny_model):
    with pytest.raises(ConfigurationError, match="2 tokens for the answers and 3 classes"):
        PromptForm.of(kmers, PromptSettings(answers=("<+>", "<->"))).words(["a", "b", "c"])
    with pytest.raises(ConfigurationError, match="no one number of bases"):
        PromptForm.of(load_tokenizer(tiny_model), PromptSettings(remainder="pad_left"))
    with pytest.raises(DataError, match="nothing is left of the sequence ACGT"):
        PromptForm.of(kmers, PromptSettings(remainder="trim_left")).text("", "ACGT")
    with pytest.raises(ConfigurationError, match="wrapper"):
        PromptSettings.read({"wrapper": ["<dna>"]}, prefix="models.m.prompt")
