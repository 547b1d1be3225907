"""A flow with a known gradient, and optimizers driven along it; for the tests of optimizers."""

import numpy as np
import torch
from torch import nn

from dnatune import optimizers

SIZE = 7
_GENERATOR = np.random.default_rng(3)
_ROOT = _GENERATOR.normal(size=(SIZE, SIZE)) / 3
CURVATURE = _ROOT @ _ROOT.T
START = _GENERATOR.normal(size=SIZE)

#: (method, hyperparameters except the learning rate) of methods with several gradients per step.
STAGED = [
    ("heun", {}),
    ("rk4", {}),
    ("rk4_38", {}),
    ("rkc", {"stages": 2}),
    ("rkc", {"stages": 3, "order": 2}),
    ("rkc", {"stages": 7}),
    ("rk4_adam", {}),
]
ALL = [*STAGED, ("sgd", {}), ("sgd", {"momentum": 0.9}), ("adamw", {}), ("lion", {}), ("rk4_single_gradient", {})]


def slope(theta):
    """Return the gradient of θᵀKθ/2 + Σθ⁴/4, for arrays and tensors."""
    matrix = CURVATURE if isinstance(theta, np.ndarray) else torch.from_numpy(CURVATURE).to(theta.dtype)
    return matrix @ theta + theta**3


def parameter(values=START, dtype=torch.float64):
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def drive(optimizer, parameters, calls, gradient=slope):
    """Call `step` the given number of times, each time with the gradient at the current parameters."""
    for _ in range(calls):
        flat = gradient(torch.cat([p.detach().flatten() for p in parameters]))
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p).clone()
        optimizer.step()


def build(method, parameters, max_grad_norm=0.0, clip="step", **hyperparameters):
    hyperparameters = {"learning_rate": 0.1, **hyperparameters}
    return optimizers.build(method, parameters, hyperparameters, max_grad_norm, clip)


def stages_of(method, hyperparameters):
    return optimizers.stages(method, optimizers.validate(method, {"learning_rate": 0.1, **hyperparameters}))


def reference_runge_kutta(theta, h, a, b, gradient):
    """Return the step and the combined gradient by the textbook formula, which keeps all gradients."""
    ks = []
    for row in a:
        ks.append(gradient(theta - h * sum((float(w) * k for w, k in zip(row, ks, strict=False)), 0 * theta)))
    combined = sum(float(w) * k for w, k in zip(b, ks, strict=True))
    return theta - h * combined, combined
