"""Shared-prefix rows give exactly what one example a row gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnatune import accounting, models
from dnatune.launching import Rank
from dnatune.packing import Rows, examples_per_row, pack_scoring, pack_training, tree_mask
from dnatune.prompts import EncodedExamples, encode_examples
from dnatune.records import instruction_records
from dnatune.training import Trainer
from samples import LORA, TASK, make_tiny_model

COUNT = 24


def ordinary_log_probabilities(model, prompts, answers) -> list[float]:
    """log p of each answer's tokens by the model's own forward pass, one unpadded example a row, no mask of ours."""
    sums = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
        # In fp64, for a log-softmax over 61,957 pieces in fp32 is itself off by up to 1e-4.
        log_p = logits.double().log_softmax(-1)
        sums.append(sum(log_p[len(prompt) - 1 + k, token] for k, token in enumerate(answer)))
    return sums


def encode(folder, rows):
    tokenizer = models.load_tokenizer(folder)
    return tokenizer, encode_examples(tokenizer, instruction_records(rows, TASK), TASK.labels, 512, "rows")


def trainable_model(folder):
    tokenizer = models.load_tokenizer(folder)
    model = models.add_lora(models.load_model(folder, tokenizer, torch.float32), LORA, seed=1)
    # LoRA's B starts at zero, which would hide errors in A's gradient.
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


CHANGES = {"plain": {}, "grouped_query": {"key_value_heads": 2}, "tied": {"tied_embeddings": True}}


LARGE = [f"{name}, 61,957 pieces" for name in CHANGES]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in LARGE[1:]]


@pytest.fixture(scope="module", params=[*CHANGES, LARGE[0], *SLOW])
def folder(request, tmp_path_factory, gue_rows, shared):
    """A tiny model with the tokenizer made from the data, and with a published one of 61,957 DNA pieces."""
    name, _, large = request.param.partition(",")
    target = tmp_path_factory.mktemp("packing") / "model"
    made = make_tiny_model(target, gue_rows, **CHANGES[name])
    if large:
        tokenizer = models.load_tokenizer(shared / "tokenizers/dnahl-llama")
        model = models.load_model(made, tokenizer, torch.float32)
        assert model.get_input_embeddings().num_embeddings == 61957
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
    return made


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("per_row", [1, 2, 5, 24])
def test_gradients_equal_ordinary_training(folder, gue_rows, per_row):
    _, examples = encode(folder, gue_rows[:COUNT])
    assert len(examples.prefix) > 20
    model = trainable_model(folder)
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
    scores = torch.zeros(len(answers), dtype=torch.float64).index_add_(0, batch.owners, tokens.double())
    assert (scores - expected).abs().max() < 1e-5


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_ranks_shares_add_up_to_ordinary_training(folder, gue_rows, ranks):
    """A batch of 7 over 3 ranks by twos: the last rank has a micro-batch of nothing."""
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder)
    batch = list(range(3, 10))
    likelihood = models.LabelLikelihood(model)
    prompts, answers = [examples.prompt(i) for i in batch], [examples.answer(i) for i in batch]
    (-sum(ordinary_log_probabilities(model, prompts, answers))).backward()
    expected = gradients(model)
    model.zero_grad()
    weights = []
    for index in range(ranks):
        settings = {"global_batch_size": len(batch)}
        trainer = Trainer(
            None, None, Rank(index, ranks, "cpu"), examples, None, None, [], settings, 0, Rows(2, 2), None
        )
        for piece, weight in trainer._micro_batches(batch):
            (-weight * likelihood(piece).sum()).backward()
            weights.append(weight)
    assert weights.count(0.0) == {1: 0, 2: 0, 3: 2}[ranks]
    for name, gradient in gradients(model).items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error < 5e-6, f"{name}: {error:.1e}"


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


def test_a_label_that_begins_another_and_an_example_longer_than_a_row_are_exact(toy):
    labels = [[5, 2], [5, 6, 2], [5, 6, 7, 2]]
    encoded = EncodedExamples([3, 4], [[10, 11], list(range(8, 38)) * 3, [12]], [0, 1, 2], labels)
    assert examples_per_row(encoded, break_even=4.0) == 1
    prompts = [encoded.prompt(i) for i in range(3) for _ in labels]
    with torch.no_grad():
        truth = torch.stack(ordinary_log_probabilities(toy, prompts, labels * 3))
        batch = pack_scoring(encoded, range(3), 1)
        tokens = models.LabelLikelihood(toy)(batch)
    assert torch.zeros(9).index_add_(0, batch.owners, tokens) == pytest.approx(truth, abs=1e-5)


def test_rows_are_filled_alike():
    encoded = EncodedExamples([3, 4], [[10, 11]] * 32, [0] * 32, [[5, 2], [6, 2]])
    batch = pack_training(encoded, range(32), 12)
    # Three rows of 10 or 11 rather than 12, 12 and 8; each example brings its two tokens and one of its answer.
    assert batch.input_ids.shape == (3, 2 + 11 * 3)


@pytest.mark.parametrize("width", [128, 512, 4096])
@pytest.mark.parametrize("prefix", [1, 20, 60, 200])
@pytest.mark.parametrize("own", [10, 24, 70])
def test_the_chosen_row_executes_least(width, prefix, own):
    """Against a search over all row lengths with the full cost formula of a Llama of that width."""
    encoded = EncodedExamples([3] * prefix, [[4] * (own - 1)] * 4000, [0] * 4000, [[5, 2]])
    shape = accounting.Dimensions(8, width, 8 * 12 * width**2, 0, 0, head_trained=True)

    def cost(per_row):
        rows = 4000 / per_row
        work = accounting.rectangle(1, prefix + per_row * own, 0)
        return rows * accounting.training_flops(shape, work)

    chosen = examples_per_row(encoded, accounting.break_even(shape))
    best = min(range(1, 400), key=cost)
    # The best length is a flat minimum, and rows hold whole examples.
    assert cost(chosen) <= 1.02 * cost(best)


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
