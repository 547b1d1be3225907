"""Lion, which moves each weight by the sign of an average of gradients (Chen et al. 2023, arXiv 2302.06675)."""

from collections.abc import Iterable
from typing import Any

import torch

from dnatune.errors import RunError


class Lion(torch.optim.Optimizer):
    """Evolved sign momentum, algorithm 2 of the paper.

    θ ← θ − h (sign(β₁m + (1 − β₁)∇L) + wθ), then m ← β₂m + (1 − β₂)∇L. Every weight moves by h, so a rate is three to
    ten times lower than AdamW's.

    Args:
        params: parameters, in one group or several.
        lr: step size h.
        betas: β₁, the share of the average in the update, and β₂, the decay of the average.
        weight_decay: w, decoupled.
    """

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float], weight_decay: float = 0.0):
        """Set the defaults of all groups."""
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step.

        Raises:
            RunError: a closure was given, or a parameter has no gradient.
        """
        if closure is not None:
            raise RunError("Lion takes no closure", fix="compute the gradient before step()")
        for group in self.param_groups:
            kept, decayed = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    raise RunError("a parameter has no gradient", where="Lion", fix="freeze it")
                state = self.state[parameter]
                if not state:
                    state["average"] = torch.zeros_like(parameter)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                direction = state["average"].lerp(parameter.grad, 1 - kept).sign_()
                parameter.add_(direction, alpha=-group["lr"])
                state["average"].lerp_(parameter.grad, 1 - decayed)
