"""The stability polynomial of a method and the length of its stable interval. Nothing here needs torch.

On a quadratic loss with curvature λ ≥ 0 (and coupled weight decay w), a step of size h multiplies the error by
R(z), z = −h(λ + w). The method is stable if |R(z)| ≤ 1, so h(λ_max + w) must not exceed
`real_stability_limit`.
"""

from typing import Any

from dnatune.errors import ConfigurationError
from dnatune.optimizers.chebyshev import Chebyshev, chebyshev
from dnatune.optimizers.tableaux import EULER, TABLEAUX, Tableau, stability_coefficients

#: Methods that are Runge–Kutta methods on the gradient flow; `sgd` without momentum is Euler's method.
_METHODS: dict[str, Tableau] = {**TABLEAUX, "sgd": EULER, "rk4_single_gradient": EULER}


def stability_polynomial(method: str, z: Any, **hyperparameters: Any) -> Any:
    """Return R(z).

    Args:
        method: name of a method or of a tableau.
        z: step size times eigenvalue; a real or complex number or an array of them.
        hyperparameters: for `rkc`: stages, damping, order.

    Raises:
        ConfigurationError: the method has no stability polynomial, because it is adaptive or unknown.
    """
    found = _method(method, hyperparameters)
    if isinstance(found, Chebyshev):
        return found.stability(z)
    value = 0 * z
    for coefficient in reversed(stability_coefficients(found)):
        value = value * z + float(coefficient)
    return value


def real_stability_limit(method: str, **hyperparameters: Any) -> float:
    """Return the largest x with |R(−y)| ≤ 1 for all y in [0, x].

    Arguments and errors are those of `stability_polynomial`.
    """
    found = _method(method, hyperparameters)
    if isinstance(found, Chebyshev):
        return found.stability_limit

    def stable(x: float) -> bool:
        return abs(stability_polynomial(method, -x)) <= 1 + 1e-13

    low, high = 0.0, 1 / 64
    while stable(high):
        low, high = high, high + 1 / 64
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


def _method(method: str, hyperparameters: dict[str, Any]) -> Tableau | Chebyshev:
    if method == "rkc":
        return chebyshev(hyperparameters.get("stages", 4), *_tail(hyperparameters))
    if method not in _METHODS:
        raise ConfigurationError(
            f"'{method}' has no stability polynomial", fix=f"choose one of {', '.join([*_METHODS, 'rkc'])}"
        )
    return _METHODS[method]


def _tail(hyperparameters: dict[str, Any]) -> tuple[float, int]:
    return hyperparameters.get("damping", 0.05), hyperparameters.get("order", 1)
