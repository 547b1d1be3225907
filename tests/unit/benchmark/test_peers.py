"""TRL's trainer computes the recipes' loss on the same examples, and its steps are timed beside theirs."""

import contextlib
import importlib.util
import os

import pytest
import torch
from transformers.models.llama import modeling_llama

from dnatune.benchmark import Bench, peers, recipes
from dnatune.benchmark.agreement import check_loss
from dnatune.data.prompts import encode_examples
from dnatune.errors import ConfigurationError, RunError
from dnatune.launch.process_group import Rank
from dnatune.model.base_models import load_tokenizer
from dnatune.settings import experiment
from samples import TASK, split_of
from small_benchmark import configuration

installed = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="TRL is not installed, as usual")


@pytest.fixture
def bench(tiny_model, simulated_rows):
    tokenizer = load_tokenizer(tiny_model)
    train, test = (
        encode_examples(tokenizer, split_of(rows), TASK.labels, 512, "rows")
        for rows in (simulated_rows[:48], simulated_rows[48:54])
    )
    settings = experiment.resolve(configuration(peers=["trl"])).benchmark_settings()
    return Bench(settings, Rank(0, 1, "cpu"), tokenizer, train, test)


@installed
def test_trl_computes_the_loss_of_the_recipes(bench):
    """Two micro-batches with unequal numbers of label tokens are divided by the tokens of both."""
    original = recipes.practice_recipes(False)[0]
    truth, _ = recipes.gradient(bench.adapted(torch.float32), original, bench.train, bench.part)
    # fp32 sums in another order.
    assert peers.loss(bench, bench.own.layers, bench.part) == pytest.approx(truth, rel=1e-5)


@installed
def test_each_micro_batch_of_trl_is_opened_and_takes_steps(bench):
    environment, attention = dict(os.environ), modeling_llama.apply_rotary_pos_emb
    with contextlib.ExitStack() as stack:
        opened = [each for group in peers.groups(bench) for each in stack.enter_context(group())]
        assert [each.recipe.micro_batch_size for each in opened] == [48, 24, 12]
        assert opened[0].recipe.name == "trl (micro-batch 48)"
        for each in opened:
            times = each.step(bench.batch, 0)
            assert times.gradient > times.optimizer > 0
            assert not each.divisible
    assert dict(os.environ) == environment
    assert modeling_llama.apply_rotary_pos_emb is attention


@installed
def test_a_micro_batch_that_does_not_fit_is_tried_with_checkpointing_and_then_left_out(bench, monkeypatch):
    right = peers._trainer

    def without_memory(fitting):
        def build(*arguments, **options):
            if options["size"] > fitting and not options["checkpointing"]:
                raise torch.OutOfMemoryError("no memory is left")
            if options["size"] > 2 * fitting:
                raise torch.OutOfMemoryError("no memory is left")
            return right(*arguments, **options)

        return build

    monkeypatch.setattr(peers, "_trainer", without_memory(12))
    names = []
    for group in peers.groups(bench):
        with group() as opened:
            names += [each.recipe.name for each in opened]
    assert names == ["trl (micro-batch 24, gradient checkpointing)", "trl (micro-batch 12)"]


def test_another_loss_is_refused():
    assert check_loss("trl", 2.00001, 2.0)["loss_error"] == pytest.approx(5e-6, rel=1e-3)
    with pytest.raises(RunError, match=r"'trl'.* loss error"):
        check_loss("trl", 2.001, 2.0)


@pytest.mark.skipif(importlib.util.find_spec("trl") is not None, reason="TRL is installed")
def test_a_peer_that_is_missing_is_named_with_what_installs_it():
    with pytest.raises(ConfigurationError, match="'trl' cannot be imported: No module named 'trl'") as refused:
        peers.require()
    assert "pip install" in refused.value.fix
