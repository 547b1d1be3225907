"""Optimizers: Runge–Kutta methods with their tableaux, and the registry of all methods by name.

Only `staged` and `runge_kutta` need torch; they are imported on first use.
"""

import importlib
from typing import Any

from dnatune.optimizers.chebyshev import Chebyshev, chebyshev
from dnatune.optimizers.registry import build, engine_clipping, specification, stages, state_copies, validate
from dnatune.optimizers.specifications import METHODS, Hyperparameter, MethodSpecification
from dnatune.optimizers.stability import real_stability_limit, stability_polynomial
from dnatune.optimizers.tableaux import EULER, HEUN, RK4, RK4_38, TABLEAUX, Tableau, order_conditions

_NEED_TORCH = {
    "ChebyshevRungeKutta": "runge_kutta",
    "RungeKutta": "runge_kutta",
    "RungeKuttaAdam": "runge_kutta",
    "SingleGradientRK4": "runge_kutta",
    "StagedOptimizer": "staged",
}

__all__ = [
    "EULER",
    "HEUN",
    "METHODS",
    "RK4",
    "RK4_38",
    "TABLEAUX",
    "Chebyshev",
    "Hyperparameter",
    "MethodSpecification",
    "Tableau",
    "build",
    "chebyshev",
    "engine_clipping",
    "order_conditions",
    "real_stability_limit",
    "specification",
    "stability_polynomial",
    "stages",
    "state_copies",
    "validate",
    *_NEED_TORCH,
]


def __getattr__(name: str) -> Any:
    """Import a name that needs torch on first use."""
    if name in _NEED_TORCH:
        return getattr(importlib.import_module(f"dnatune.optimizers.{_NEED_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
