"""Shared-prefix rows give exactly what one example a row gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import LORA, TASK, make_tiny_model
from dnatune import models
from dnatune.packing import pack_scoring, pack_training, tree_mask
from dnatune.prompts import EncodedExamples, encode_examples
from dnatune.records import instruction_records

COUNT = 24


def ordinary_log_probabilities(model, prompts, answers) -> list[float]:
    """log p of each answer's tokens by the model's own forward pass, one unpadded example a row, no mask of ours."""
    sums = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].float()
        log_p = logits.log_softmax(-1)
        sums.append(sum(log_p[len(prompt) - 1 + k, token] for k, token in enumerate(answer)))
    return sums


def encode(folder, rows):
    tokenizer = models.load_tokenizer(folder)
    return tokenizer, encode_examples(tokenizer, instruction_records(rows, TASK), TASK.labels, 512, "rows")


def trainable_model(folder):
    tokenizer = models.load_tokenizer(folder)
    return models.add_lora(models.load_model(folder, tokenizer, torch.float32), LORA, seed=1)


@pytest.fixture(scope="module", params=["plain", "grouped_query", "tied"])
def folder(request, tmp_path_factory, gue_rows):
    changes = {"plain": {}, "grouped_query": {"key_value_heads": 2}, "tied": {"tied_embeddings": True}}
    return make_tiny_model(tmp_path_factory.mktemp("packing") / request.param, gue_rows, **changes[request.param])


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("per_row", [1, 2, 5, 24])
def test_gradients_equal_ordinary_training(folder, gue_rows, per_row):
    _, examples = encode(folder, gue_rows[:COUNT])
    assert len(examples.prefix) > 20
    model = trainable_model(folder)
    # LoRA's B starts at zero, which would hide errors in A's gradient.
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    prompts = [examples.prompt(i) for i in range(COUNT)]
    answers = [examples.answer(i) for i in range(COUNT)]
    (-sum(ordinary_log_probabilities(model, prompts, answers)) / COUNT).backward()
    expected = gradients(model)
    model.zero_grad()
    packed = models.LabelLikelihood(model)(pack_training(examples, range(COUNT), per_row))
    (-packed.sum() / COUNT).backward()
    for name, gradient in gradients(model).items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error < 5e-6, f"{name}: {error:.1e}"


@pytest.mark.parametrize("per_row", [1, 3, 24])
def test_scores_equal_ordinary_scoring(folder, gue_rows, per_row):
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder).eval()
    prompts = [examples.prompt(i) for i in range(COUNT) for _ in examples.labels]
    answers = [label for _ in range(COUNT) for label in examples.labels]
    with torch.no_grad():
        expected = torch.stack(ordinary_log_probabilities(model, prompts, answers))
        batch = pack_scoring(examples, range(COUNT), per_row)
        tokens = models.LabelLikelihood(model)(batch)
    scores = torch.zeros(len(answers)).index_add_(0, batch.owners, tokens)
    assert (scores - expected).abs().max() < 1e-5


def test_without_the_mask_the_result_is_wrong(folder, gue_rows):
    """transformers infers packing from restarted positions and would cut the examples off from the prefix."""
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder)
    batch = pack_training(examples, range(COUNT), 6)
    with torch.no_grad():
        right = models.LabelLikelihood(model)(batch)
        object.__setattr__(batch, "mask", None)
        wrong = models.LabelLikelihood(model)(batch)
    assert (right - wrong).abs().max() > 1e-3


def test_mask_is_ancestry_by_brute_force():
    # root 0 <- 1 <- 2, 1 <- 3; root 0 <- 4
    parents, pieces = [-1, 0, 1, 1, 0], [0, 0, 1, 2, 2, 3, 4]
    chains = {0: {0}, 1: {0, 1}, 2: {0, 1, 2}, 3: {0, 1, 3}, 4: {0, 4}}
    expected = [[j <= i and pieces[j] in chains[pieces[i]] for j in range(7)] for i in range(7)]
    assert tree_mask(pieces, parents).tolist() == expected


token = st.integers(2, 40)


@settings(max_examples=40, deadline=None)
@given(
    prefix=st.lists(token, max_size=9),
    examples=st.lists(st.lists(token, min_size=1, max_size=7), min_size=1, max_size=6),
    labels=st.lists(st.lists(token, min_size=1, max_size=5), min_size=2, max_size=4),
    per_row=st.integers(1, 7),
    data=st.data(),
)
def test_any_shape_of_row_scores_as_one_example_a_row(toy, prefix, examples, labels, per_row, data):
    answers = data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=len(examples), max_size=len(examples)))
    encoded = EncodedExamples(prefix, examples, answers, labels)
    indices = range(len(examples))
    with torch.no_grad():
        prompts = [encoded.prompt(i) for i in indices]
        truth = torch.stack(ordinary_log_probabilities(toy, prompts, [encoded.answer(i) for i in indices]))
        batch = pack_training(encoded, indices, per_row)
        tokens = models.LabelLikelihood(toy)(batch)
        assert torch.zeros(len(examples)).index_add_(0, batch.owners, tokens) == pytest.approx(truth, abs=1e-5)
        every = [label for _ in indices for label in labels]
        truth = torch.stack(ordinary_log_probabilities(toy, [p for p in prompts for _ in labels], every))
        batch = pack_scoring(encoded, indices, per_row)
        tokens = models.LabelLikelihood(toy)(batch)
        assert torch.zeros(len(every)).index_add_(0, batch.owners, tokens) == pytest.approx(truth, abs=1e-5)


@pytest.fixture(scope="module")
def toy():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=41, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config).eval()
