"""Shared-prefix rows give exactly the same results as one example per row."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnatune.data.prompts import EncodedExamples, encode_examples
from dnatune.launch.process_group import Rank
from dnatune.model import base_models, flops, label_likelihood
from dnatune.model.scoring import label_log_probabilities
from dnatune.model.shared_prefix import attention
from dnatune.model.shared_prefix.packing import Rows, chunks, pack_scoring, pack_training, side_by_side
from dnatune.settings.training import Training
from dnatune.training.loop import Trainer
from dnatune.training.plan import Plan
from samples import LORA, TASK, make_tiny_model, split_of

COUNT = 24


def ordinary_log_probabilities(model, prompts, answers) -> list[float]:
    """Return log p of each answer's tokens from the model's own forward pass: one unpadded row per example, no mask."""
    sums = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0]
        # In fp64, for a log-softmax over 61,957 pieces in fp32 is itself off by up to 1e-4.
        log_p = logits.double().log_softmax(-1)
        sums.append(sum(log_p[len(prompt) - 1 + k, token] for k, token in enumerate(answer)))
    return sums


def encode(folder, rows):
    tokenizer = base_models.load_tokenizer(folder)
    return tokenizer, encode_examples(tokenizer, split_of(rows), TASK.labels, 512, "rows")


def trainable_model(folder):
    tokenizer = base_models.load_tokenizer(folder)
    model = base_models.add_lora(base_models.load_model(folder, tokenizer, torch.float32), LORA, seed=1)
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
    """A tiny model with a tokenizer trained on the data, or with a published tokenizer of 61,957 DNA pieces."""
    name, _, large = request.param.partition(",")
    target = tmp_path_factory.mktemp("packing") / "model"
    made = make_tiny_model(target, gue_rows, **CHANGES[name])
    if large:
        tokenizer = base_models.load_tokenizer(shared / "tokenizers/dnahl-llama")
        model = base_models.load_model(made, tokenizer, torch.float32)
        assert model.get_input_embeddings().num_embeddings == 61957
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
    return made


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def ordinary_gradients(folder, gue_rows):
    """Gradients of ordinary training."""
    _, examples = encode(folder, gue_rows[:COUNT])
    assert len(examples.prefix) > 20
    model = trainable_model(folder)
    prompts = [examples.prompt(i) for i in range(COUNT)]
    answers = [examples.answer(i) for i in range(COUNT)]
    (-sum(ordinary_log_probabilities(model, prompts, answers)) / COUNT).backward()
    return gradients(model)


@pytest.mark.parametrize("per_row", [1, 2, 5, 24])
def test_gradients_equal_ordinary_training(folder, gue_rows, ordinary_gradients, per_row):
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder)
    likelihood = label_likelihood.LabelLikelihood(model)
    for part in chunks(range(COUNT), per_row):
        (-likelihood(pack_training(examples, part, shared=True)).sum() / COUNT).backward()
    for name, gradient in gradients(model).items():
        error = (gradient - ordinary_gradients[name]).norm() / ordinary_gradients[name].norm()
        assert error < 5e-6, f"{name}: {error:.1e}"


@pytest.fixture(scope="module")
def ordinary_scores(folder, gue_rows):
    """Log-probabilities of every label in ordinary scoring."""
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder).eval()
    prompts = [examples.prompt(i) for i in range(COUNT) for _ in examples.labels]
    answers = [label for _ in range(COUNT) for label in examples.labels]
    with torch.no_grad():
        return torch.stack(ordinary_log_probabilities(model, prompts, answers))


@pytest.mark.parametrize("per_row", [1, 3, 24])
def test_scores_equal_ordinary_scoring(folder, gue_rows, ordinary_scores, per_row):
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder).eval()
    scores = label_log_probabilities(
        label_likelihood.LabelLikelihood(model), examples, range(COUNT), per_row, True, "cpu"
    )
    assert np.abs(scores.ravel() - ordinary_scores.numpy()).max() < 1e-5


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_ranks_shares_add_up_to_ordinary_training(folder, gue_rows, ranks):
    """With 7 examples, 3 ranks and micro-batches of 2, the last rank has an empty micro-batch."""
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder)
    batch = list(range(3, 10))
    likelihood = label_likelihood.LabelLikelihood(model)
    prompts, answers = [examples.prompt(i) for i in batch], [examples.answer(i) for i in batch]
    (-sum(ordinary_log_probabilities(model, prompts, answers))).backward()
    expected = gradients(model)
    model.zero_grad()
    weights = []
    for index in range(ranks):
        settings = Training(global_batch_size=len(batch))
        rank, one_step = Rank(index, ranks, "cpu"), Plan(steps=1, stages=1, steps_per_epoch=1)
        trainer = Trainer(None, None, rank, examples, None, one_step, [], settings, 0, Rows(True, 2), None)
        for piece, weight in trainer._micro_batches(batch):
            (-weight * likelihood(piece).sum()).backward()
            weights.append(weight)
    assert weights.count(0.0) == {1: 0, 2: 0, 3: 2}[ranks]
    for name, gradient in gradients(model).items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        assert error < 5e-6, f"{name}: {error:.1e}"


def test_without_the_mask_the_result_is_wrong(folder, gue_rows):
    """Without the mask, transformers infers packing from restarted positions and separates examples from the prefix."""
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder)
    batch = pack_training(examples, range(6), shared=True)
    with torch.no_grad():
        right = label_likelihood.LabelLikelihood(model)(batch)
        causal = base_models.causal_model(model)
        logits = causal(input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits
        wrong = label_likelihood.log_probabilities(logits[batch.rows, batch.columns], batch.targets)
    assert (right - wrong).abs().max() > 1e-3


def test_examples_that_see_each_other_give_another_result(toy):
    """Every element of the mask matters: attending to another example or its answer changes the score."""
    encoded = EncodedExamples([3, 4], [[10, 11], [12], [13, 14, 15]], [0, 1, 0], [[5, 6, 2], [7, 2]])
    batch = pack_scoring(encoded, range(3), shared=True)
    likelihood = label_likelihood.LabelLikelihood(toy)
    (group,) = batch.groups
    used = torch.zeros(3 * group.own, dtype=torch.bool)
    used[group.slots] = True
    used = used.view(3, group.own)
    with torch.no_grad():
        right, tried = likelihood(batch), 0
        for example, row, column in (~group.mask[:, 0]).nonzero().tolist():
            if not used[example, row] or not used[example, column - group.prefix]:
                continue
            mask = group.mask.clone()
            mask[example, 0, row, column] = True
            wrong = likelihood(dataclasses.replace(batch, groups=(dataclasses.replace(group, mask=mask),)))
            tried += 1
            # A token that nothing is predicted from does not show what it sees in the last layer alone.
            assert (right - wrong).abs().max() > 1e-7, (example, row, column)
    assert tried > 10


def test_mask_is_ancestry_by_brute_force():
    labels = [[5, 6, 2], [7, 2], [8, 9, 10, 2]]
    encoded = EncodedExamples([3, 4], [[10, 11], [12], [13, 14, 15]], [0, 1, 0], labels)
    (group,) = pack_scoring(encoded, range(3), shared=True).groups
    for example, own in enumerate(encoded.examples):
        # Of every token but the last of a label: whose it is, None of the example itself, and its place in that.
        tokens = [(None, place) for place in range(len(own))]
        tokens += [(label, place) for label, ids in enumerate(labels) for place in range(len(ids) - 1)]
        for row, (owner, place) in enumerate(tokens):
            seen = [other is None or (other == owner and there <= place) for other, there in tokens]
            if owner is None:
                seen = [other is None and there <= place for other, there in tokens]
            expected = [True, True, *seen]
            assert group.mask[example, 0, row, : len(expected)].tolist() == expected, (example, row)
            assert not group.mask[example, 0, row, len(expected) :].any()


def test_a_label_that_begins_another_and_a_long_example_among_short_ones_are_exact(toy):
    labels = [[5, 2], [5, 6, 2], [5, 6, 7, 2]]
    encoded = EncodedExamples([3, 4], [[10, 11], list(range(8, 38)) * 3, [12]], [0, 1, 2], labels)
    prompts = [encoded.prompt(i) for i in range(3) for _ in labels]
    with torch.no_grad():
        truth = torch.stack(ordinary_log_probabilities(toy, prompts, labels * 3))
        batch = pack_scoring(encoded, range(3), shared=True)
        tokens = label_likelihood.LabelLikelihood(toy)(batch)
    assert torch.zeros(9).index_add_(0, batch.owners, tokens) == pytest.approx(truth, abs=1e-5)


def test_a_row_holds_the_prefix_once_and_no_padding():
    encoded = EncodedExamples([3, 4], [[10, 11], [12], [13, 14, 15]], [0, 1, 0], [[5, 6, 2], [7, 2]])
    batch = pack_training(encoded, range(3), shared=True)
    # The last token of an answer predicts nothing.
    assert batch.input_ids.tolist() == [[3, 4, 10, 11, 5, 6, 12, 7, 13, 14, 15, 5, 6]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 2, 3, 2, 3, 4, 5, 6]]
    (group,) = batch.groups
    assert group.slots.tolist() == [0, 1, 2, 3, 5, 6, 10, 11, 12, 13, 14]
    assert group.owners.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([20, 18, 27], [[0, 1, 2]]),
        ([1, 17, 1, 18], [[0, 1, 2], [3]]),
        ([400, 20, 300, 20, 21], [[1, 3, 4], [0, 2]]),
        ([100, 151, 150, 40], [[3], [0, 2], [1]]),
    ],
)
def test_examples_of_about_one_length_attend_side_by_side(lengths, groups):
    assert side_by_side(lengths) == groups


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60))
def test_every_example_is_in_one_group_and_padded_by_half_at_most(lengths):
    groups = side_by_side(lengths)
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    for group in groups:
        own = [lengths[number] for number in group]
        assert max(own) <= max(1.5 * min(own), 16 + min(own))
    # One more group for each half as long again at most.
    assert len(groups) <= 1 + math.log(max(lengths) / min(lengths), 1.5)


def test_lengths_that_differ_much_cost_attention_no_more_than_their_padding():
    """If 127 examples of 20 tokens and one of 400 were padded to the longest, attention would cost 60 times as much."""
    encoded = EncodedExamples([1] * 60, [[2] * 400, *[[2] * 20] * 127], [0] * 128, [[3]])
    batch = pack_training(encoded, range(128), shared=True)
    assert flops.executed(batch).context == 60**2 + 127 * 20 * 80 + 400 * 460


def test_gradients_are_the_same_bit_for_bit_every_time(folder, gue_rows):
    """No sum depends on the order of execution, so a resumed run equals the uninterrupted run."""
    _, examples = encode(folder, gue_rows[:COUNT])
    model = trainable_model(folder)
    likelihood, batch = label_likelihood.LabelLikelihood(model), pack_training(examples, range(COUNT), shared=True)
    twice = []
    for _ in range(2):
        model.zero_grad()
        likelihood(batch).sum().backward()
        twice.append(gradients(model))
    assert all(torch.equal(twice[0][name], twice[1][name]) for name in twice[0])


token = st.integers(2, 40)
#: Short ones, and ones that cannot stand beside them.
piece = st.lists(token, min_size=1, max_size=7) | st.lists(token, min_size=25, max_size=60)


@settings(max_examples=40, deadline=None)
@given(
    prefix=st.lists(token, max_size=9),
    examples=st.lists(piece, min_size=1, max_size=6),
    labels=st.lists(st.lists(token, min_size=1, max_size=5), min_size=2, max_size=4),
    data=st.data(),
)
def test_any_shape_of_row_scores_as_one_example_a_row(toy, prefix, examples, labels, data):
    answers = data.draw(st.lists(st.integers(0, len(labels) - 1), min_size=len(examples), max_size=len(examples)))
    encoded = EncodedExamples(prefix, examples, answers, labels)
    indices = range(len(examples))
    with torch.no_grad():
        prompts = [encoded.prompt(i) for i in indices]
        truth = torch.stack(ordinary_log_probabilities(toy, prompts, [encoded.answer(i) for i in indices]))
        batch = pack_training(encoded, indices, shared=True)
        tokens = label_likelihood.LabelLikelihood(toy)(batch)
        assert torch.zeros(len(examples)).index_add_(0, batch.owners, tokens) == pytest.approx(truth, abs=1e-5)
        every = [label for _ in indices for label in labels]
        truth = torch.stack(ordinary_log_probabilities(toy, [p for p in prompts for _ in labels], every))
        batch = pack_scoring(encoded, indices, shared=True)
        tokens = label_likelihood.LabelLikelihood(toy)(batch)
        assert torch.zeros(len(every)).index_add_(0, batch.owners, tokens) == pytest.approx(truth, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    prefix=st.lists(token, max_size=9),
    examples=st.lists(piece, min_size=1, max_size=5),
    labels=st.lists(st.lists(token, min_size=1, max_size=5), min_size=2, max_size=3),
)
def test_any_shape_of_row_has_the_gradients_of_one_example_a_row(toy, prefix, examples, labels):
    encoded = EncodedExamples(prefix, examples, [i % len(labels) for i in range(len(examples))], labels)
    indices = range(len(examples))
    prompts = [encoded.prompt(i) for i in indices]
    toy.zero_grad()
    sum(ordinary_log_probabilities(toy, prompts, [encoded.answer(i) for i in indices])).backward()
    expected = gradients(toy)
    toy.zero_grad()
    label_likelihood.LabelLikelihood(toy)(pack_training(encoded, indices, shared=True)).sum().backward()
    for name, gradient in gradients(toy).items():
        assert (gradient - expected[name]).norm() <= 5e-6 * expected[name].norm() + 1e-7, name


@pytest.fixture(scope="module")
def toy():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=41, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config).eval()


def test_no_kernel_that_builds_a_plan_for_every_shape_is_asked_on_a_gpu():
    allowed = torch.backends.cuda
    before = allowed.cudnn_sdp_enabled()
    with attention._without_plans(torch.device("cuda:0")):
        assert not allowed.cudnn_sdp_enabled()
        assert allowed.flash_sdp_enabled() and allowed.mem_efficient_sdp_enabled() and allowed.math_sdp_enabled()
    assert allowed.cudnn_sdp_enabled() == before
