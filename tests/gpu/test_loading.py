"""A model that is loaded onto a GPU, and what is trained on it, begin as they would on the processor."""

import pytest
import torch

from dnatune.model import base_models
from samples import LORA, make_tiny_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICES = ("cpu", "cuda:0")


def values(model, device):
    """Return the model's parameters and buffers, which are all on a device, on the processor."""
    found = dict([*model.named_parameters(), *model.named_buffers()])
    assert {tensor.device for tensor in found.values()} == {torch.device(device)}
    return {name: tensor.detach().cpu() for name, tensor in found.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        # Buffers (the rotary frequencies) may be computed on the device.
        tolerance = 0 if "rotary" not in name else 1e-6
        assert tensor.dtype == other[name].dtype
        assert torch.allclose(tensor, other[name], rtol=tolerance, atol=0), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("tied", [False, True], ids=["apart", "tied"])
def test_a_loaded_model_is_the_same_on_both(tied, dtype, tmp_path, simulated_rows):
    base = make_tiny_model(tmp_path / "base", simulated_rows, tied_embeddings=tied)
    tokenizer = base_models.load_tokenizer(base)
    models = [base_models.load_model(base, tokenizer, dtype, device) for device in DEVICES]
    assert_same(*map(values, models, DEVICES))
    adapted = [base_models.add_lora(model, LORA, seed=1) for model in models]
    assert_same(*map(values, adapted, DEVICES))
    trained = {name: p.detach().float() + 0.1 for name, p in adapted[0].named_parameters() if p.requires_grad}
    folder = tmp_path / "adapter"
    folder.mkdir()
    base_models.save_adapter(adapted[0], trained, tokenizer, folder)
    loaded = [base_models.load_adapter(base, folder, dtype, device)[0] for device in DEVICES]
    assert_same(*map(values, loaded, DEVICES))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_of_new_tokens_are_the_same_on_both(dtype):
    weight = torch.randn(5000, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    one, other = (base_models.with_new_rows(weight.to(device), 5003) for device in DEVICES)
    assert torch.equal(one, other.cpu())
