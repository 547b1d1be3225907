"""A GPU without bf16 and flash attention (Volta) has all that fp16 needs: nothing else is computed with or called."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from dnatune.data.prompts import encode_examples
from dnatune.model import base_models, label_likelihood, scoring
from dnatune.model.shared_prefix.packing import pack_training
from samples import LORA, TASK, make_tiny_model, split_of

COUNT = 12


class Seen(TorchDispatchMode):
    """Notes which operations run, and the number formats of all that they take and give."""

    def __init__(self):
        super().__init__()
        self.operations, self.formats = set(), set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operations.add(str(function))
        flat, _ = torch.utils._pytree.tree_flatten((args, kwargs, result))
        self.formats |= {one.dtype for one in flat if isinstance(one, torch.Tensor)}
        return result


@pytest.fixture(scope="module")
def made(tmp_path_factory, simulated_rows):
    folder = make_tiny_model(tmp_path_factory.mktemp("volta") / "tiny", simulated_rows, key_value_heads=2)
    tokenizer = base_models.load_tokenizer(folder)
    return folder, tokenizer, encode_examples(tokenizer, split_of(simulated_rows[:COUNT]), TASK.labels, 512, "rows")


def trained_and_scored(made, dtype, shared):
    """Return the gradient of a batch as one vector, and the scores of its examples."""
    folder, tokenizer, examples = made
    lora = LORA.model_copy(update={"dropout": 0.0})
    model = base_models.add_lora(base_models.load_model(folder, tokenizer, dtype), lora, seed=1).to(dtype)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    likelihood = label_likelihood.LabelLikelihood(model)
    likelihood(pack_training(examples, range(COUNT), shared)).sum().backward()
    gradient = torch.cat([p.grad.double().flatten() for p in model.parameters() if p.requires_grad])
    scores = scoring.label_log_probabilities(likelihood.eval(), examples, range(COUNT), COUNT, shared, "cpu")
    return gradient, torch.from_numpy(scores)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "ordinary"])
def test_fp16_takes_neither_bf16_nor_flash_attention(made, shared):
    exact = trained_and_scored(made, torch.float32, shared)
    with sdpa_kernel(SDPBackend.MATH), Seen() as seen:
        found = trained_and_scored(made, torch.float16, shared)
    assert torch.float16 in seen.formats and torch.bfloat16 not in seen.formats
    assert not [name for name in seen.operations if "flash" in name or "cudnn" in name]
    for value, truth in zip(found, exact, strict=True):
        assert (value - truth).norm() < 0.01 * truth.norm()
