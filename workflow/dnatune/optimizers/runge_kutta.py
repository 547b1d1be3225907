"""The Runge–Kutta methods as optimizers."""

import math
from collections.abc import Iterable
from typing import Any

import torch

from dnatune.errors import RunError
from dnatune.optimizers.chebyshev import chebyshev
from dnatune.optimizers.staged import StagedOptimizer, Tensors, combine
from dnatune.optimizers.tableaux import RK4, Combination, Tableau, stage_plans


class RungeKutta(StagedOptimizer):
    """An explicit Runge–Kutta step on the gradient flow dθ/dt = −∇(L + w‖θ‖²/2).

    The tableau determines what is kept between stages, see `tableaux.stage_plans`.

    Args:
        tableau: the method.
        params, lr, weight_decay, max_norm: see `StagedOptimizer`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        tableau: Tableau = RK4,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ):
        """Set the method; the class above does the rest."""
        self.tableau, self.stages, self.state_copies = tableau, tableau.stages, tableau.state_copies
        self._stage_plans = stage_plans(tableau)
        super().__init__(params, lr, weight_decay, max_norm)

    def _register_names(self) -> list[str]:
        return [f"register{slot}" for slot in range(self.tableau.registers)]

    def _advance(self, group: dict[str, Any], parameters: Tensors, gradients: Tensors) -> Tensors:
        stage = self._stage_plans[group["stage"]]
        if group["stage"] + 1 == self.stages:
            return combine(gradients, float(stage.target.gradient), self._terms(parameters, stage.target))
        terms = [*self._terms(parameters, stage.target), (float(stage.target.gradient), gradients)]
        self._return_to_start(parameters)
        self._move(group, parameters, [(weight, tensors) for weight, tensors in terms if weight])
        for slot, made in stage.writes:
            own = dict(made.registers).get(slot, 0)
            others = Combination(tuple(entry for entry in made.registers if entry[0] != slot), made.gradient)
            terms = [*self._terms(parameters, others), (float(made.gradient), gradients)]
            combine(self._kept(parameters, f"register{slot}"), float(own), terms)
        return []

    def _terms(self, parameters: Tensors, made: Combination) -> list[tuple[float, Tensors]]:
        return [(float(weight), self._kept(parameters, f"register{slot}")) for slot, weight in made.registers]


class ChebyshevRungeKutta(StagedOptimizer):
    """A stabilised Runge–Kutta–Chebyshev step, computed by its three-term recurrence; see `chebyshev.Chebyshev`.

    The recurrence uses the displacements d_j = (θ₀ − θ_j)/h instead of the points θ_j. This takes one more copy,
    but the rounding errors are relative to the displacement, not to θ, and the update's norm needs no
    division by h.

    Args:
        stages: s, 2 to 16.
        damping: ε ≥ 0.
        order: 1 or 2.
        params, lr, weight_decay, max_norm: see `StagedOptimizer`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        stages: int = 4,
        damping: float = 0.05,
        order: int = 1,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ):
        """Set the method; the class above does the rest."""
        self.method = chebyshev(stages, damping, order)
        self.stages, self.state_copies = stages, self.method.state_copies
        super().__init__(params, lr, weight_decay, max_norm)

    def _register_names(self) -> list[str]:
        return ["displacement0", "displacement1", *(["gradient0"] if self.method.order == 2 else [])]

    def _advance(self, group: dict[str, Any], parameters: Tensors, gradients: Tensors) -> Tensors:
        method, j = self.method, group["stage"] + 1
        # d_j overwrites d_{j−2}; d_0 = 0 is never stored.
        target = self._kept(parameters, f"displacement{j % 2}")
        if j == 1:
            combine(target, 0.0, [(method.first, gradients)])
            if method.order == 2:
                torch._foreach_copy_(self._kept(parameters, "gradient0"), gradients)
        else:
            terms = [
                (method.mu[j - 2], self._kept(parameters, f"displacement{(j - 1) % 2}")),
                (method.weight[j - 2], gradients),
            ]
            if method.order == 2:
                terms.append((method.start[j - 2], self._kept(parameters, "gradient0")))
            combine(target, method.nu[j - 2] if j > 2 else 0.0, terms)
        if j < self.stages:
            self._return_to_start(parameters)
            self._move(group, parameters, [(1.0, target)])
        return target


class RungeKuttaAdam(RungeKutta):
    """Experimental: the classical RK4 on the preconditioned flow dθ/dt = −P_n⁻¹ g(θ), within Adam's own bound.

    P_n is diagonal and frozen over the stages of step n. It is Adam's (Kingma and Ba, ICLR 2015) from the
    gradient k_1 of the first stage, at θ₀ and before any move:

        v_n = β₂ v_{n−1} + (1 − β₂) k_1²,   P_n = √(v_n / (1 − β₂ⁿ)) + ε,   c_n = √((1 − β₂ⁿ) / (1 − β₂)).

    Adam never moves an element by more than h c_n, because its gradient is part of v_n. Here the same holds for
    k_1. The gradients of the later stages are clipped to |k_i| ≤ c_n P_n, because if k_1 is (nearly) 0 they would
    otherwise be divided by ε. This is the case in a new LoRA adapter: half of it has gradient 0 until the other
    half has moved.

    There is no first moment: the stages already follow the flow within a step, and an average over steps would
    add a second memory of it. Weight decay is decoupled, θ_new = (1 − hw) θ₀ − h P_n⁻¹ Σ b_i k_i. The norm that is
    clipped and reported is that of Σ b_i k_i before P_n⁻¹, just as AdamW's gradient is clipped before its
    preconditioner.

    Args:
        beta2: β₂ in [0, 1).
        eps: ε > 0; it also keeps the zeros that pad a shard at zero.
        params, lr, weight_decay, max_norm: see `StagedOptimizer`.
    """

    weight_decay_style = "decoupled"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ):
        """Set the method; the class above does the rest."""
        super().__init__(params, lr, RK4, weight_decay, max_norm)
        self.state_copies += 1
        self.param_groups[0].update(beta2=beta2, eps=eps)

    def _begin(self, group: dict[str, Any], parameters: Tensors, gradients: Tensors) -> None:
        super()._begin(group, parameters, gradients)
        for parameter in parameters:
            if "second_moment" not in self.state[parameter]:
                self.state[parameter]["second_moment"] = torch.zeros_like(parameter)
        moments = self._kept(parameters, "second_moment")
        torch._foreach_mul_(moments, group["beta2"])
        torch._foreach_addcmul_(moments, gradients, gradients, value=1 - group["beta2"])

    def _advance(self, group: dict[str, Any], parameters: Tensors, gradients: Tensors) -> Tensors:
        scales = self._denominators(group, parameters)
        torch._foreach_mul_(scales, self._correction(group) / math.sqrt(1 - group["beta2"]))
        torch._foreach_div_(scales, torch._foreach_abs(gradients))
        # Multiplied, not clamped: infinite gradients become NaN and are noticed; gradients within the bound are exact.
        torch._foreach_clamp_max_(scales, 1.0)
        torch._foreach_mul_(gradients, scales)
        return super()._advance(group, parameters, gradients)

    def _correction(self, group: dict[str, Any]) -> float:
        return math.sqrt(1 - group["beta2"] ** (group["step"] + 1))

    def _denominators(self, group: dict[str, Any], parameters: Tensors) -> Tensors:
        denominators = torch._foreach_sqrt(self._kept(parameters, "second_moment"))
        torch._foreach_div_(denominators, self._correction(group))
        torch._foreach_add_(denominators, group["eps"])
        return list(denominators)

    def _move(self, group: dict[str, Any], parameters: Tensors, terms: list[tuple[float, Tensors]]) -> None:
        denominators = self._denominators(group, parameters)
        for weight, tensors in terms:
            torch._foreach_addcdiv_(parameters, tensors, denominators, value=-group["lr"] * weight)


class SingleGradientRK4(torch.optim.Optimizer):
    """The "RK4" of the original procedure, which takes k₁ = k₂ = k₃ = k₄ = ∇L + wθ and so is SGD with weight decay.

    With δ = −h(∇L + wθ) it sets θ ← θ + (δ + 2δ + 2δ + δ)/6, in this order of operations.

    Args:
        params: parameters, in one group or several.
        lr: step size h.
        weight_decay: w, coupled.
    """

    weight_decay_style = "coupled"
    stages = 1
    state_copies = 0

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0):
        """Set the method; the class above does the rest."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; p.grad is used as scratch.

        Raises:
            RunError: a closure was given, or a parameter has no gradient.
        """
        if closure is not None:
            raise RunError("SingleGradientRK4 takes no closure", fix="compute the gradient before step()")
        for group in self.param_groups:
            for parameter in group["params"]:
                delta = parameter.grad
                if delta is None:
                    raise RunError("a parameter has no gradient", where="SingleGradientRK4", fix="freeze it")
                if group["weight_decay"]:
                    delta.add_(parameter, alpha=group["weight_decay"])
                delta.mul_(-group["lr"])
                combined = delta.add(delta, alpha=2).add_(delta, alpha=2).add_(delta).div_(6.0)
                parameter.add_(combined)
