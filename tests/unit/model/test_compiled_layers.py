"""Compiled layers compute what transformers' layers do, by one code for rows of all lengths; here on a CPU."""

import shutil

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from transformers import LlamaConfig, LlamaForCausalLM

from dnatune.data.prompts import EncodedExamples
from dnatune.model import base_models, label_likelihood, micro_batch
from dnatune.model.scoring import label_log_probabilities
from dnatune.model.shared_prefix.packing import pack_training
from samples import LORA

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs g++ on a CPU")
COUNT = 40


@pytest.fixture(scope="module")
def examples():
    draw = np.random.default_rng(0)
    sequences = [draw.integers(10, 60, length).tolist() for length in draw.integers(6, 14, COUNT)]
    return EncodedExamples([3, 4, 5, 6], sequences, [k % 2 for k in range(COUNT)], [[7, 8, 2], [9, 2]])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same likelihood twice, the second with compiled layers; without dropout, whose draws differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        plain, compiled = likelihood(), likelihood()
        compiled.compile_layers()
        yield plain, compiled
    torch.compiler.reset()


def likelihood():
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    lora = LORA.model_copy(update={"dropout": 0.0})
    model = base_models.add_lora(LlamaForCausalLM(LlamaConfig(vocab_size=60, **shape, **heads)), lora, seed=0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    found = label_likelihood.LabelLikelihood(model.train())
    found.flatten()
    return found


def gradient(model, examples, first, last):
    model.zero_grad()
    model(pack_training(examples, range(first, last), True)).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]).double()


@pytest.mark.slow
@pytest.mark.parametrize("recomputed", [False, True], ids=["kept", "recomputed"])
def test_gradients_are_the_same_and_one_code_serves_all_lengths(pair, examples, recomputed):
    plain, compiled = pair
    counters.clear()
    with micro_batch.checkpointed(plain.model, recomputed), micro_batch.checkpointed(compiled.model, recomputed):

        def error(first, last):
            expected, found = (gradient(each, examples, first, last) for each in pair)
            return float((found - expected).norm() / expected.norm())

        assert max(error(0, COUNT), error(0, COUNT // 2)) < 5e-6
        assert counters["stats"]["unique_graphs"], "nothing was compiled"
        with torch.compiler.set_stance("fail_on_recompile"):
            assert max(error(1, last) for last in range(COUNT // 2 + 1, COUNT, 3)) < 5e-6


def test_the_dev_split_is_scored_as_the_test_split_is(pair, examples):
    plain, compiled = (each.eval() for each in pair)
    expected = label_log_probabilities(plain, examples, range(COUNT), 16, True, "cpu")
    with torch.compiler.set_stance("force_eager"):
        found = label_log_probabilities(compiled, examples, range(COUNT), 16, True, "cpu")
    assert np.array_equal(found, expected)
