"""Runge–Kutta–Chebyshev methods, whose stable interval grows with the square of the number of stages.

Order 1: van der Houwen and Sommeijer, ZAMM 60 (1980) 479–485; for optimization Eftekhari, Vandereycken,
Vilmart and Zygalakis, BIT Numerical Mathematics 61 (2021) 119–139. Order 2: Verwer, Applied Numerical
Mathematics 22 (1996) 359–379; Sommeijer, Shampine and Verwer, Journal of Computational and Applied
Mathematics 88 (1998) 315–326. Nothing here needs torch.
"""

import dataclasses
import functools
import math
from typing import Any


@dataclasses.dataclass(frozen=True)
class Chebyshev:
    """The coefficients of a stabilised method with s stages.

    With the displacement d_j = (θ₀ − θ_j)/h of the j-th stage point and k_j = g(θ_j) the method computes

        d_0 = 0,  d_1 = first · k_0,  d_j = mu_j d_{j−1} + nu_j d_{j−2} + weight_j k_{j−1} + start_j k_0,

    and θ_new = θ₀ − h d_s. Its stability polynomial is R(z) = shift + scale · T_s(ω₀ + ω₁ z).

    Attributes:
        stages: s.
        damping: ε in ω₀ = 1 + ε/s².
        order: 1 or 2.
        omega0, omega1: ω₀ and ω₁ in the argument of the Chebyshev polynomial.
        shift, scale: shift and scale of the stability polynomial.
        first: coefficient of the first stage, see above.
        mu, nu, weight, start: coefficients for j = 2…s, so entry 0 belongs to j = 2; `start` is zero for order 1.
    """

    stages: int
    damping: float
    order: int
    omega0: float
    omega1: float
    shift: float
    scale: float
    first: float
    mu: tuple[float, ...]
    nu: tuple[float, ...]
    weight: tuple[float, ...]
    start: tuple[float, ...]

    @property
    def state_copies(self) -> int:
        """Return the number of copies of the parameters: θ₀, the last two displacements and, for order 2, k_0."""
        return 2 + self.order

    @property
    def damped_limit(self) -> float:
        """Return the largest x with |R(−y)| ≤ |shift| + scale for all y between (ω₀−1)/ω₁ and x.

        There |T_s| ≤ 1. For order 1 the bound is 1/T_s(ω₀) ≈ 1 − ε, and x ≈ (2 − 4ε/3)s²; for order 2 it is
        1 − (1 − 1/s²)ε/3 + O(ε²), and x ≈ ⅔(s² − 1)(1 − 2ε/15) (Sommeijer et al. 1998, section 2).
        """
        return (1 + self.omega0) / self.omega1

    @property
    def stability_limit(self) -> float:
        """Return the largest x with |R(−y)| ≤ 1 for all y in [0, x]; for order 1 it is 2ω₀/ω₁."""
        # Left of −1, |T_s| grows monotonically; R leaves [−1, 1] above for even s, below for odd s.
        if self.order == 1 or self.stages % 2 == 0:
            return 2 * self.omega0 / self.omega1
        return (self.omega0 + math.cosh(math.acosh((1 + self.shift) / self.scale) / self.stages)) / self.omega1

    def stability(self, z: Any) -> Any:
        """Return R(z) for a real or complex number or an array of them."""
        return self.shift + self.scale * polynomials(self.stages, self.omega0 + self.omega1 * z)[0][-1]


@functools.cache
def chebyshev(stages: int, damping: float = 0.05, order: int = 1) -> Chebyshev:
    """Return the method's coefficients.

    In the notation of Sommeijer et al. 1998, section 2, with

        order 1:  b_j = 1/T_j(ω₀),             ω₁ = T_s(ω₀)/T_s′(ω₀)
        order 2:  b_j = T_j″(ω₀)/T_j′(ω₀)²,    ω₁ = T_s′(ω₀)/T_s″(ω₀),   b_0 = b_1 = b_2,

    the coefficients are

        first = b₁ω₁,  mu_j = 2ω₀ b_j/b_{j−1},  nu_j = −b_j/b_{j−2},  weight_j = 2ω₁ b_j/b_{j−1},
        start_j = −(1 − b_{j−1} T_{j−1}(ω₀)) weight_j.

    Args:
        stages: s ≥ 2.
        damping: ε ≥ 0.
        order: 1 or 2.
    """
    omega0 = 1 + damping / stages**2
    t, first_derivative, second_derivative = polynomials(stages, omega0)
    if order == 1:
        omega1 = t[-1] / first_derivative[-1]
        b = [1 / value for value in t]
    else:
        omega1 = first_derivative[-1] / second_derivative[-1]
        b = [d2 / d1**2 for d1, d2 in zip(first_derivative[2:], second_derivative[2:], strict=True)]
        b = [b[0], b[0], *b]
    a = [0.0 if order == 1 else 1 - bj * tj for bj, tj in zip(b, t, strict=True)]
    later = range(2, stages + 1)
    weight = tuple(2 * omega1 * b[j] / b[j - 1] for j in later)
    return Chebyshev(
        stages=stages,
        damping=damping,
        order=order,
        omega0=omega0,
        omega1=omega1,
        shift=a[-1],
        scale=b[-1],
        first=b[1] * omega1,
        mu=tuple(2 * omega0 * b[j] / b[j - 1] for j in later),
        nu=tuple(-b[j] / b[j - 2] for j in later),
        weight=weight,
        start=tuple(-a[j - 1] * w for j, w in zip(later, weight, strict=True)),
    )


def polynomials(degree: int, x: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Return T_0…T_degree at x and their first and second derivatives, by the three-term recurrence."""
    zero = 0 * x
    t, d1, d2 = [zero + 1, x], [zero, zero + 1], [zero, zero]
    for _ in range(2, degree + 1):
        t.append(2 * x * t[-1] - t[-2])
        d1.append(2 * t[-2] + 2 * x * d1[-1] - d1[-2])
        d2.append(4 * d1[-2] + 2 * x * d2[-1] - d2[-2])
    return t, d1, d2
