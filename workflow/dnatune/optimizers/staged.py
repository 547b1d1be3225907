"""Optimizers whose step has stages: each `step()` call takes one gradient and moves to the next stage point.

The loop computes the gradient of the *same* batch at every stage. p.grad is the gradient at the current point
of the parameters; after the last stage the parameters are at the end of the step. Everything except the norm is
elementwise, so the algebra is exact on the flat shards that ZeRO hands over, and the state is sharded with
them.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnatune.errors import ConfigurationError, RunError

Tensors = list[Tensor]


class StagedOptimizer(torch.optim.Optimizer):
    """The common part of all methods with stages: the counter, θ₀, weight decay, and clipping of the update.

    p.grad is overwritten; its content after a call has no meaning. A parameter without a gradient counts as one
    with gradient zero, as it does in a flat shard.

    Args:
        params: parameters, in one group.
        lr: step size h, constant over the stages of a step; 0 is allowed, because schedules may begin with 0.
        weight_decay: coefficient w. Coupled: every stage adds wθ to its gradient, so the flow is that of the
            loss plus w‖θ‖²/2. Decoupled: a step scales θ₀ by 1 − hw once instead (Loshchilov and Hutter, ICLR
            2019).
        max_norm: bound on the l2 norm of a step's combined gradient (coupled weight decay included), applied
            as `torch.nn.utils.clip_grad_norm_` does for a single gradient; None or 0 turns it off.

    Attributes:
        norm_reduce: a function that sums a squared norm (0-d float64 tensor) over the ranks if each rank holds
            a shard; otherwise None.
        clips_stages: whether `max_norm` bounds the gradient of each stage, before coupled weight decay is added, in
            place of the combined gradient. The stages then sample the field min(1, max_norm/‖∇L‖) ∇L.
        last_update_norm: norm of the last completed step's combined gradient before clipping; with `clips_stages` the
            largest norm of its stages' gradients before clipping. It is NaN or infinite if any stage gradient was;
            the parameters are then useless.
        weight_decay_style: `coupled` or `decoupled`.
        stages: gradient evaluations per step.
        state_copies: copies of the parameters kept in the state.

    Raises:
        ConfigurationError: there is more than one parameter group, or a number is out of range.
    """

    weight_decay_style = "coupled"
    stages: int
    state_copies: int
    norm_reduce: Callable[[Tensor], Tensor] | None = None
    clips_stages: bool = False
    last_update_norm: float | None = None

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0, max_norm: float | None = None):
        """Check the numbers and put the counters into the group."""
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("max_norm", max_norm or 0.0)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigurationError(f"{name} is {value}", where=type(self).__name__, fix="give 0 or more")
        # The counters are in the group, because ZeRO replaces the parameters but never the group.
        defaults = {"lr": lr, "weight_decay": weight_decay, "max_norm": max_norm or 0.0}
        super().__init__(params, {**defaults, "stage": 0, "step": 0, "step_lr": None, "largest_norm": 0.0})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Accept the first group and refuse a second."""
        if self.param_groups:
            raise ConfigurationError(
                f"{type(self).__name__} got several parameter groups; ZeRO steps group by group, so the norm "
                "of the combined update is not known before the last group",
                fix="put all parameters in one group",
            )
        super().add_param_group(param_group)

    @property
    def stage(self) -> int:
        """Return how many stages of the current step are done; 0 at a step boundary."""
        return self.param_groups[0]["stage"]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Use the gradient at the current point of the parameters, and move them to the next point.

        Raises:
            RunError: a closure was given, the learning rate changed within a step, or the parameters are not
                those with which the step began.
        """
        if closure is not None:
            raise RunError(
                f"{type(self).__name__} takes no closure",
                fix="compute one gradient before each of its step() calls",
            )
        (group,) = self.param_groups
        parameters = group["params"]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        if self.clips_stages:
            norm = self._norm(gradients)
            torch._foreach_mul_(gradients, _clipping_factor(norm, group["max_norm"]))
            # Unlike `max`, this keeps a NaN.
            group["largest_norm"] = float(np.maximum(group["largest_norm"] if group["stage"] else 0.0, norm))
        if group["stage"] == 0:
            self._begin(group, parameters, gradients)
        else:
            self._check_same_step(group, parameters)
        if group["weight_decay"] and self.weight_decay_style == "coupled":
            torch._foreach_add_(gradients, parameters, alpha=group["weight_decay"])
        direction = self._advance(group, parameters, gradients)
        group["stage"] += 1
        if group["stage"] == self.stages:
            self._finish(group, parameters, direction)

    def reset(self) -> None:
        """Undo an unfinished step and delete the state, the counters and the norm."""
        with torch.no_grad():
            for parameter, state in self.state.items():
                if self.stage and "theta0" in state:
                    parameter.copy_(state["theta0"])
        self.state.clear()
        self.param_groups[0].update(stage=0, step=0, step_lr=None, largest_norm=0.0)
        self.last_update_norm = None

    def _advance(self, group: dict[str, Any], parameters: Tensors, gradients: Tensors) -> Tensors:
        """Store what later stages need and move to the next stage point; at the last stage return Σ b_i k_i."""
        raise NotImplementedError

    def _register_names(self) -> list[str]:
        """Return the names of the state tensors other than θ₀, which a step writes before it reads them."""
        raise NotImplementedError

    def _begin(self, group: dict[str, Any], parameters: Tensors, gradients: Tensors) -> None:
        group["step_lr"] = group["lr"]
        if self.stages == 1:
            return
        for parameter in parameters:
            state = self.state[parameter]
            if "theta0" not in state:
                for name in ("theta0", *self._register_names()):
                    state[name] = torch.empty_like(parameter)
        torch._foreach_copy_(self._kept(parameters, "theta0"), parameters)

    def _check_same_step(self, group: dict[str, Any], parameters: Tensors) -> None:
        if group["lr"] != group["step_lr"]:
            raise RunError(
                f"the learning rate changed from {group['step_lr']} to {group['lr']} after {group['stage']} of "
                f"{self.stages} stages",
                where=type(self).__name__,
                fix="advance the schedule once per step, not once per call of step()",
            )
        if any("theta0" not in self.state[p] for p in parameters):
            raise RunError(
                f"parameters appear for the first time after {group['stage']} of {self.stages} stages",
                where=type(self).__name__,
                fix="pass all parameters in each call (with ZeRO 3, raise "
                "zero_optimization.sub_group_size); resume only from a checkpoint with the optimizer's state",
            )

    def _kept(self, parameters: Tensors, name: str) -> Tensors:
        return [self.state[p][name] for p in parameters]

    def _move(self, group: dict[str, Any], parameters: Tensors, terms: list[tuple[float, Tensors]]) -> None:
        """Set θ = θ − h Σ weight · tensors."""
        for weight, tensors in terms:
            torch._foreach_add_(parameters, tensors, alpha=-group["lr"] * weight)

    def _return_to_start(self, parameters: Tensors) -> None:
        if self.stages > 1:
            torch._foreach_copy_(parameters, self._kept(parameters, "theta0"))

    def _finish(self, group: dict[str, Any], parameters: Tensors, direction: Tensors) -> None:
        norm = group["largest_norm"] if self.clips_stages else self._norm(direction)
        scale = 1.0 if self.clips_stages else _clipping_factor(norm, group["max_norm"])
        self._return_to_start(parameters)
        if group["weight_decay"] and self.weight_decay_style == "decoupled":
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        self._move(group, parameters, [(scale, direction)])
        self.last_update_norm = norm
        group.update(stage=0, step=group["step"] + 1)

    def _norm(self, tensors: Tensors) -> float:
        """Return the l2 norm over all tensors and, of shards, over all ranks."""
        square = torch.stack([norm.double().square() for norm in torch._foreach_norm(tensors)]).sum()
        if self.norm_reduce is not None:
            square = self.norm_reduce(square)
        return math.sqrt(square.item())


def _clipping_factor(norm: float, max_norm: float) -> float:
    """Return the factor that clips; torch adds the same 1e-6, so it is that of `clip_grad_norm_`."""
    return min(1.0, max_norm / (norm + 1e-6)) if max_norm else 1.0


def combine(target: Tensors, keep: float, terms: list[tuple[float, Tensors]]) -> Tensors:
    """Set target = keep · target + Σ weight · tensors in place; if `keep` is 0, the old content is not read."""
    terms = [(weight, tensors) for weight, tensors in terms if weight]
    if keep:
        if keep != 1:
            torch._foreach_mul_(target, keep)
    elif terms:
        (weight, first), *terms = terms
        torch._foreach_copy_(target, first)
        if weight != 1:
            torch._foreach_mul_(target, weight)
    else:
        torch._foreach_zero_(target)
    for weight, tensors in terms:
        torch._foreach_add_(target, tensors, alpha=weight)
    return target
