"""Batches generate the same as single prompts, only exact labels count, and a batch is halved if memory runs out."""

import numpy as np
import pytest
import torch
from torch import nn

from dnatune.data.prompts import encode_examples
from dnatune.errors import RunError
from dnatune.model import base_models, label_likelihood, scoring
from dnatune.model.shared_prefix.packing import pack_scoring
from samples import TASK, split_of


def test_batched_decoding_equals_decoding_one_by_one(tiny_model, simulated_rows):
    tokenizer = base_models.load_tokenizer(tiny_model)
    model = base_models.load_model(tiny_model, tokenizer, torch.float32).eval()
    rows = [(sequence[: 20 + 7 * (i % 5)], label) for i, (sequence, label) in enumerate(simulated_rows[:12])]
    examples = encode_examples(tokenizer, split_of(rows), TASK.labels, 512, "rows")
    together = scoring.generate_texts(model, tokenizer, examples, 12, 6)
    for index, text in enumerate(together):
        ids = torch.tensor([examples.prompt(index)])
        output = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=tokenizer.eos_token_id)
        assert text == tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("promoter", 1),
        (" Non-promoter \n", 0),
        ("dnon-promoter", None),
        ("Promoter", None),
        ("promoter promoter", None),
        ("", None),
    ],
)
def test_only_a_label_is_an_answer(text, parsed):
    assert scoring.parse_label(text, TASK.labels) == parsed


class Limited(nn.Module):
    """A model with memory for a limited number of examples: larger batches raise torch's own error."""

    def __init__(self, model, limit):
        super().__init__()
        self.likelihood, self.limit, self.sizes = label_likelihood.LabelLikelihood(model), limit, []

    def forward(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.limit:
            raise torch.OutOfMemoryError("no memory is left")
        return self.likelihood(batch)


@pytest.fixture
def scored(tiny_model, simulated_rows):
    """A function that scores 20 examples in batches of 12, with memory for a given number."""
    tokenizer = base_models.load_tokenizer(tiny_model)
    model = base_models.load_model(tiny_model, tokenizer, torch.float32).eval()
    examples = encode_examples(tokenizer, split_of(simulated_rows[:20]), TASK.labels, 512, "rows")

    def score(limit, **options):
        likelihood, told = Limited(model, limit), []
        scores = scoring.label_log_probabilities(
            likelihood, examples, range(20), 12, True, "cpu", told.append, **options
        )
        return scores, likelihood.sizes, told

    return score


def test_where_memory_ends_the_batch_is_halved_and_every_example_scored_once(scored):
    whole, sizes, _ = scored(12)
    assert sizes == [12, 8]
    halved, sizes, told = scored(3)
    assert sizes == [12, 6, *[3] * 6, 2] and told == [*[3] * 6, 2]
    assert np.abs(halved - whole).max() < 1e-5


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_has_at_most_the_tokens_that_are_counted_for_its_examples(shared, tiny_model, simulated_rows):
    rows = [(sequence[: 20 + i], label) for i, (sequence, label) in enumerate(simulated_rows[:20])]
    examples = encode_examples(base_models.load_tokenizer(tiny_model), split_of(rows), TASK.labels, 512, "rows")
    tokens = scoring.scored_tokens(examples, shared)
    longest = max(range(20), key=lambda index: len(examples.examples[index]))
    alone = pack_scoring(examples, [longest], shared).input_ids.numel()
    assert alone == tokens + (len(examples.prefix) if shared else 0)
    assert pack_scoring(examples, range(20), shared).input_ids.numel() <= 20 * tokens + len(examples.prefix)


def test_memory_that_one_example_exceeds_is_told(scored):
    with pytest.raises(RunError, match="one example"):
        scored(0)


def test_a_batch_that_other_ranks_take_part_in_is_not_halved(scored):
    with pytest.raises(torch.OutOfMemoryError):
        scored(3, halve=False)


def test_decoding_halves_its_batch_too(tiny_model, simulated_rows, monkeypatch):
    tokenizer = base_models.load_tokenizer(tiny_model)
    model = base_models.load_model(tiny_model, tokenizer, torch.float32).eval()
    examples = encode_examples(tokenizer, split_of(simulated_rows[:9]), TASK.labels, 512, "rows")
    whole, told = scoring.generate_texts(model, tokenizer, examples, 9, 4), []
    generate = model.generate

    def limited(input_ids, **options):
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("no memory is left")
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(model, "generate", limited)
    assert scoring.generate_texts(model, tokenizer, examples, 9, 4, told.append) == whole
    assert told == [3, 3, 3]
