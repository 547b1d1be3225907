"""The compared recipes compute the same loss, gradient and scores; a recipe that does not is refused."""

import dataclasses

import numpy as np
import pytest
import torch

from dnatune import benchmark
from dnatune.benchmark import recipes
from dnatune.data.prompts import encode_examples
from dnatune.errors import RunError
from dnatune.model import base_models, flops, label_likelihood
from dnatune.model.scoring import label_log_probabilities
from dnatune.model.shared_prefix import packing
from samples import LORA, TASK, split_of

COUNT = 36
COMPARED = [*recipes.practice_recipes(False), recipes.own_recipe(12, False)]


@pytest.fixture(scope="module")
def examples(tiny_model, simulated_rows):
    tokenizer = base_models.load_tokenizer(tiny_model)
    records = split_of(simulated_rows[:COUNT])
    return encode_examples(tokenizer, records, TASK.labels, 512, "rows")


@pytest.fixture
def adapted(tiny_model):
    """An adapter that differs from its initial state and has dropout, which the comparison must turn off."""
    base = base_models.load_model(tiny_model, base_models.load_tokenizer(tiny_model), torch.float32)
    model = base_models.add_lora(base, LORA.model_copy(update={"dropout": 0.3}), seed=0)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


@pytest.fixture
def plain(tiny_model):
    return base_models.load_model(tiny_model, base_models.load_tokenizer(tiny_model), torch.float32).eval()


def test_training_recipes_compute_one_loss_and_one_gradient(adapted, examples):
    found = benchmark.check_gradients(adapted, COMPARED, examples, range(COUNT))
    assert list(found) == ["original", "common practice", "label-only logits", "shared prefix"]
    for name, row in found.items():
        assert row["loss_error"] < 1e-6, name
        assert row["gradient_error"] < 5e-6, name


def test_the_loss_is_that_of_the_label_tokens_over_the_whole_batch(adapted, examples):
    """An average over micro-batches with unequal numbers of label tokens would be a different loss."""
    (loss, gradient) = recipes.gradient(adapted, COMPARED[0], examples, range(COUNT))
    adapted.eval()
    with torch.no_grad():
        logs = label_likelihood.LabelLikelihood(adapted)(packing.pack_training(examples, range(COUNT), shared=False))
    assert loss == pytest.approx(-float(logs.sum()) / recipes.answer_tokens(examples, range(COUNT)), rel=1e-6)
    trainable = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert set(gradient) == trainable
    assert all(p.grad is None for p in adapted.parameters())


def test_a_gradient_of_something_else_is_refused(adapted, examples):
    right, *_, ours = COMPARED

    class CausalMask(recipes.TrainingRecipe):
        """Lets an example's tokens also attend to later tokens."""

        def micro_batches(self, examples, indices):
            batches = super().micro_batches(examples, indices)
            return [dataclasses.replace(b, groups=tuple(map(self._all_seen, b.groups))) for b in batches]

        @staticmethod
        def _all_seen(group):
            return dataclasses.replace(group, mask=torch.ones_like(group.mask))

    wrong = CausalMask(**dataclasses.asdict(ours))
    with pytest.raises(RunError, match=r"'shared prefix'.* gradient error"):
        benchmark.check_gradients(adapted, [right, wrong], examples, range(12))


def test_the_recipes_are_the_original_and_ours_and_what_lies_between(examples):
    original, common, label_only, ours = COMPARED
    assert (original.micro_batch_size, original.checkpointing) == (2, True)
    assert (common.micro_batch_size, common.checkpointing) == (16, False)
    rows = [recipe.micro_batches(examples, range(COUNT)) for recipe in (original, common, label_only, ours)]
    assert [len(batches) for batches in rows] == [18, 3, 3, 3]
    assert all(isinstance(batch, recipes.PaddedBatch) for batch in rows[0] + rows[1])
    works = [recipes.work_of(batches) for batches in rows]
    answers = recipes.answer_tokens(examples, range(COUNT))
    assert [work.logits for work in works] == [works[0].tokens, works[1].tokens, answers, answers]
    assert works[3].tokens < 0.6 * works[2].tokens


def test_padded_rows_hold_prompt_answer_and_padding(examples):
    batch = recipes.pad_rows([[5, 6, 7], [8]], [[9, 2], [3, 4, 2]])
    assert batch.input_ids.tolist() == [[5, 6, 7, 9, 2], [8, 3, 4, 2, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.labels.tolist() == [[-100, -100, -100, 9, 2], [-100, 3, 4, 2, -100]]


def test_checkpointing_is_on_within_its_context_alone(adapted):
    base = adapted.get_base_model().model
    with recipes.checkpointed(adapted, True):
        assert base.gradient_checkpointing
    assert not base.gradient_checkpointing


def test_scoring_recipes_agree(plain, examples):
    errors = benchmark.check_scores(plain, examples, range(COUNT), 1, 10)
    assert errors.keys() == {"original", "shared prefix"}
    assert all(error < 1e-5 for error in errors.values())
    rows = recipes.score_in_rows(plain, examples, [3, 1], 3)
    shared = label_log_probabilities(label_likelihood.LabelLikelihood(plain), examples, [3, 1], 4, True, "cpu")
    assert rows.shape == (2, 2, max(map(len, examples.labels)))
    assert rows.sum(axis=2) == pytest.approx(shared, abs=1e-4)


def test_the_original_decodes_greedily_up_to_the_limit(plain, examples):
    found = recipes.score_one_by_one(plain, examples, [4, 0], 1, lambda index: 3 + index)
    assert [len(tokens) for tokens in found.generated] == [7, 3]
    logits = plain(input_ids=torch.tensor([examples.prompt(4)])).logits[0, -1]
    assert found.generated[0][0] == int(logits.argmax())
    expected = logits.log_softmax(-1)[[label[0] for label in examples.labels]]
    assert found.first[0] == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_scores_of_something_else_are_refused(plain, examples, monkeypatch):
    right = recipes.score_in_rows
    monkeypatch.setattr(recipes, "score_in_rows", lambda *arguments: right(*arguments) * 1.001)
    with pytest.raises(RunError, match=r"score 1\.0e-03"):
        benchmark.check_scores(plain, examples, range(4), 1, 4)


def test_not_a_number_is_no_agreement(plain, examples, monkeypatch):
    monkeypatch.setattr(recipes, "score_in_rows", lambda *_: np.full((4, 2, 3), np.nan))
    with pytest.raises(RunError):
        benchmark.check_scores(plain, examples, range(4), 1, 4)


def test_shared_rows_are_near_their_floor(adapted, examples):
    """The executed work exceeds the required work only by the masked-out parts of the masks."""
    dimensions = dataclasses.replace(flops.dimensions(adapted.get_base_model()), frozen=25_000_000)
    batch = packing.pack_training(examples, range(COUNT), shared=True)
    spent = flops.training_flops(dimensions, flops.executed(batch))
    assert 1.0 < spent / flops.training_flops(dimensions, flops.required_work(batch)) < 1.15
