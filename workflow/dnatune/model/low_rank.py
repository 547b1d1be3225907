"""The low-rank updates of a model: computed in one product, and trained as one parameter.

peft adds each update in four operations and keeps its matrices as two parameters per layer. DeepSpeed works on every
parameter by itself, before and after each step, in Python: of a model of 1.28 billion weights on a GPU this took about
a sixth of a step (benchmarks/README.md).
"""

from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import nn

_ADAPTER = "default"


class FusedLinear(Linear):
    """A linear layer whose update is added to its output in place: y = Wx + b, then y += s B (A dropout(x))."""

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return the output of the layer [..., features]."""
        y = self.base_layer(x)
        low = self.lora_A[_ADAPTER](self.lora_dropout[_ADAPTER](x))
        weight = self.lora_B[_ADAPTER].weight
        flat = y.view(-1, y.shape[-1])
        flat.addmm_(low.view(-1, low.shape[-1]), weight.t(), alpha=self.scaling[_ADAPTER])
        return y


def fuse(model: nn.Module) -> None:
    """Let all linear layers of a model that have an update add it in one product.

    Args:
        model: the model; an adapter has the number format of its weights, as `base_models.add_lora` returns it.
    """
    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = FusedLinear


class FlatAdapter(nn.Module):
    """All low-rank matrices of a model as one parameter; before each forward pass the layers are given views of it.

    From then on the model has no parameters for them, and `named_matrices` knows their names.

    Args:
        model: the model, on its device.

    Attributes:
        flat: the matrices one after the other [weights].
    """

    def __init__(self, model: PeftModel):
        super().__init__()
        layers = [(name, module) for name, module in model.named_modules() if _is_matrix(name, module)]
        self._names = [f"{name}.weight" for name, _ in layers]
        self._layers = [module for _, module in layers]
        self._shapes = [module.weight.shape for module in self._layers]
        self._sizes = [shape.numel() for shape in self._shapes]
        self.flat = nn.Parameter(torch.cat([module.weight.detach().flatten() for module in self._layers]))
        for module in self._layers:
            del module._parameters["weight"]
        self.spread()

    def spread(self) -> None:
        """Give each layer its part of the parameter as it is now."""
        parts = self.flat.split(self._sizes)
        for module, part, shape in zip(self._layers, parts, self._shapes, strict=True):
            # Not by setattr, which looks through the module's parameters and buffers first.
            module.__dict__["weight"] = part.view(shape)

    def named_matrices(self, flat: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield name and matrix of each part of a tensor of the parameter's shape, named as the model named them."""
        for name, part, shape in zip(self._names, flat.split(self._sizes), self._shapes, strict=True):
            yield name, part.view(shape)


def _is_matrix(name: str, module: nn.Module) -> bool:
    return name.endswith((f".lora_A.{_ADAPTER}", f".lora_B.{_ADAPTER}")) and module.weight.requires_grad
