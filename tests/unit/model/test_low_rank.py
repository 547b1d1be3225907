"""The update that is added in place, and the matrices trained as one parameter, equal peft's own."""

import pytest
import torch
from peft.tuners.lora import Linear
from transformers import LlamaConfig, LlamaForCausalLM

from dnatune.model import base_models, label_likelihood, low_rank
from dnatune.settings.training import Lora
from samples import LORA

IDS = torch.arange(40)[None]


def adapted(lora: Lora = LORA, dtype: torch.dtype = torch.float32):
    """A small Llama with an adapter whose B is not zero."""
    torch.manual_seed(0)
    shape = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = base_models.add_lora(LlamaForCausalLM(LlamaConfig(vocab_size=40, **shape)).to(dtype), lora, seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model.train()


def gradients(model, likelihood=None):
    """The output and the gradient of each trained parameter, with dropout drawn from one seed."""
    torch.manual_seed(5)
    if likelihood:
        likelihood.adapter.spread()
    output = model(input_ids=IDS, use_cache=False).logits
    output.square().mean().backward()
    return output.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_output_and_gradients_are_those_of_peft_also_with_dropout():
    lora = LORA.model_copy(update={"dropout": 0.3})
    plain, fused = adapted(lora), adapted(lora)
    low_rank.fuse(fused)
    assert {type(m) for m in plain.modules() if isinstance(m, Linear)} == {Linear}
    assert {type(m) for m in fused.modules() if isinstance(m, Linear)} == {low_rank.FusedLinear}
    (expected, expected_gradients), (found, found_gradients) = gradients(plain), gradients(fused)
    assert (found - expected).norm() < 4e-7 * expected.norm()
    assert found_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert (found_gradients[name] - gradient).norm() < 1e-6 * gradient.norm(), name


def test_matrices_as_one_parameter_have_the_same_gradients_and_names():
    apart, together = adapted(), adapted()
    separate, flat = label_likelihood.LabelLikelihood(apart), label_likelihood.LabelLikelihood(together)
    flat.flatten()
    expected, expected_gradients = gradients(separate.model)
    found, found_gradients = gradients(flat.model, flat)
    assert torch.equal(found, expected)
    matrices = {name for name in expected_gradients if "lora_" in name}
    assert found_gradients.keys() == expected_gradients.keys() - matrices
    named = dict(flat.adapter.named_matrices(flat.adapter.flat.grad))
    assert named.keys() == matrices
    assert all(torch.equal(named[name], expected_gradients[name]) for name in matrices)


def test_layers_follow_the_parameter():
    likelihood = label_likelihood.LabelLikelihood(adapted())
    likelihood.flatten()
    before = gradients(likelihood.model, likelihood)[0]
    with torch.no_grad():
        likelihood.adapter.flat.mul_(2)
    assert not torch.allclose(gradients(likelihood.model, likelihood)[0], before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_an_adapter_has_the_format_of_its_model(dtype):
    assert {p.dtype for p in adapted(dtype=dtype).parameters()} == {dtype}
