"""Reference fine-tuning in float64, without DeepSpeed, packing, and dnatune's models and optimizers.

Each example is one row of a plain transformers forward pass, gradients come from autograd, and the steps are written
after Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, section II.1. Only the token ids, the order
of the examples and the learning rates come from dnatune.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from dnatune.data.prompts import EncodedExamples

Slope = Callable[[Any], Any]


def sgd_direction(f: Slope, y: Any, h: float) -> Any:
    """Euler's method."""
    return f(y)


def heun_direction(f: Slope, y: Any, h: float) -> Any:
    """The trapezoidal rule, with an Euler step for its end point."""
    k1 = f(y)
    k2 = f(y + h * k1)
    return (k1 + k2) / 2


def rk4_direction(f: Slope, y: Any, h: float) -> Any:
    """The classical method of Kutta."""
    k1 = f(y)
    k2 = f(y + h / 2 * k1)
    k3 = f(y + h / 2 * k2)
    k4 = f(y + h * k3)
    return (k1 + 2 * k2 + 2 * k3 + k4) / 6


def rk4_38_direction(f: Slope, y: Any, h: float) -> Any:
    """Kutta's 3/8 rule."""
    k1 = f(y)
    k2 = f(y + h / 3 * k1)
    k3 = f(y - h / 3 * k1 + h * k2)
    k4 = f(y + h * k1 - h * k2 + h * k3)
    return (k1 + 3 * k2 + 3 * k3 + k4) / 8


#: The direction d of each method's step y + h·d along dy/dt = f(y).
DIRECTIONS = {
    "sgd": sgd_direction,
    "heun": heun_direction,
    "rk4": rk4_direction,
    "rk4_38": rk4_38_direction,
}


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of a reference run.

    Attributes:
        weights: every trainable parameter by name after the last step.
        losses: mean negative log-likelihood per label token of each step's batch, at the beginning of the step.
        norms: l2 norm of each step's combined gradient before clipping; if stages are clipped, the largest of a stage.
    """

    weights: dict[str, Tensor]
    losses: list[float]
    norms: list[float]


def load(
    folder: Path, lora: dict[str, Any], initial: dict[str, Tensor], dtype: torch.dtype = torch.float64
) -> PeftModel:
    """Return the model with LoRA and the given trainable weights, without dropout, all in one number format."""
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
    for module in base.modules():
        if isinstance(module, LlamaRMSNorm):
            module.forward = _Norm(module)
    adapter = LoraConfig(
        task_type="CAUSAL_LM",
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=0.0,
        target_modules=lora["target_modules"],
        modules_to_save=lora["modules_to_save"],
    )
    model = get_peft_model(base, adapter)
    trainable = _trainable(model)
    assert trainable.keys() == initial.keys()
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(initial[name])
            assert parameter.dtype == torch.float64
    return model


class _Norm:
    """RMSNorm in float64, because transformers' RMSNorm computes in fp32."""

    def __init__(self, module: LlamaRMSNorm):
        self.module = module

    def __call__(self, hidden: Tensor) -> Tensor:
        mean = hidden.square().mean(-1, keepdim=True)
        return self.module.weight * hidden / torch.sqrt(mean + self.module.variance_epsilon)


def train(
    model: PeftModel,
    examples: EncodedExamples,
    batches: Sequence[Sequence[int]],
    rates: Sequence[float],
    method: str,
    max_norm: float = 0.0,
    clip: str = "step",
) -> Trained:
    """Follow the gradient flow of each batch's loss for one step of `method`.

    Args:
        model: see `load`; its weights are restored afterwards.
        examples: the training split.
        batches: the examples of each step.
        rates: the step sizes.
        method: a key of `DIRECTIONS`.
        max_norm: bound on a norm, 0 for no bound.
        clip: what it bounds: `step`, a step's direction, or `stages`, the slope wherever the method asks for it.
    """
    parameters = list(_trainable(model).values())
    start = parameters_to_vector(parameters).detach()
    y, losses, norms = start.clone(), [], []
    for batch, rate in zip(batches, rates, strict=True):
        seen: list[float] = []
        slopes: list[float] = []

        def descent(
            y: Tensor, batch: Sequence[int] = batch, seen: list[float] = seen, slopes: list[float] = slopes
        ) -> Tensor:
            vector_to_parameters(y, parameters)
            loss = mean_negative_log_likelihood(model, examples, batch)
            seen.append(loss.item())
            slope = -parameters_to_vector(torch.autograd.grad(loss, parameters))
            slopes.append(float(slope.norm()))
            return slope * min(1.0, max_norm / slopes[-1]) if max_norm and clip == "stages" else slope

        direction = DIRECTIONS[method](descent, y, rate)
        norm = max(slopes) if clip == "stages" else float(direction.norm())
        if max_norm and clip == "step":
            direction = direction * min(1.0, max_norm / norm)
        y = y + rate * direction
        losses.append(seen[0])
        norms.append(norm)
    vector_to_parameters(y, parameters)
    weights = {name: p.detach().clone() for name, p in _trainable(model).items()}
    vector_to_parameters(start, parameters)
    return Trained(weights, losses, norms)


def mean_negative_log_likelihood(model: PeftModel, examples: EncodedExamples, batch: Sequence[int]) -> Tensor:
    """Return the mean over all label tokens of the batch; examples of one length share a forward pass."""
    by_length = defaultdict(list)
    for index in batch:
        prompt, answer = examples.prompt(index), examples.answer(index)
        by_length[len(prompt), len(answer)].append(prompt + answer)
    total, tokens = 0.0, 0
    for (prompt, answer), rows in by_length.items():
        ids = torch.tensor(rows)
        predictions = model(input_ids=ids, use_cache=False).logits[:, prompt - 1 : -1].log_softmax(-1)
        total = total - predictions.gather(2, ids[:, prompt:, None]).sum()
        tokens += answer * len(rows)
    return total / tokens


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
