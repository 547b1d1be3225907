"""Butcher tableaux in exact rational arithmetic, and what a step must store between its stages.

A Runge–Kutta method with s stages integrates dθ/dt = −g(θ) over a step of size h by

    θ_i = θ₀ − h Σ_{j<i} a_ij k_j,   k_i = g(θ_i),   θ_new = θ₀ − h Σ_i b_i k_i

(Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, 2nd ed., section II.1). Nothing here
needs torch.
"""

import dataclasses
import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from dnatune.errors import ConfigurationError

_ZERO, _ONE = Fraction(0), Fraction(1)
Vector = tuple[Fraction, ...]


@dataclasses.dataclass(frozen=True)
class Tableau:
    """An explicit Runge–Kutta method.

    Attributes:
        name: name in messages.
        a: weights of the gradients in each stage point, (s, s), zero on and above the diagonal; trailing zeros
            of a row may be omitted.
        b: weights of the gradients in the step, (s,).
        c: times of the stage points as fractions of the step, (s,).
        order: order of convergence; the order conditions up to it are checked.

    Raises:
        ConfigurationError: a coefficient is not rational, a shape is wrong, the method is implicit, a row of `a`
            does not sum to its `c`, the weights do not sum to 1, or the order is not reached.
    """

    name: str
    a: tuple[Vector, ...]
    b: Vector
    c: Vector
    order: int

    def __post_init__(self):
        """Complete the rows with zeros, and check that this is an explicit method of the given order."""
        size = len(self.b)
        if size == 0 or len(self.a) != size or len(self.c) != size or any(len(row) > size for row in self.a):
            self._refuse(
                f"a has {len(self.a)} rows, b {size} and c {len(self.c)} entries",
                "give one row of a, one b and one c for each stage",
            )
        rows = [[*self._exact(row, f"row {i} of a"), *[_ZERO] * (size - len(row))] for i, row in enumerate(self.a, 1)]
        object.__setattr__(self, "a", tuple(map(tuple, rows)))
        object.__setattr__(self, "b", self._exact(self.b, "b"))
        object.__setattr__(self, "c", self._exact(self.c, "c"))
        for number, (row, time) in enumerate(zip(self.a, self.c, strict=True), 1):
            if any(row[number - 1 :]):
                self._refuse(
                    f"row {number} of a uses stage {number} or a later one, so the method is implicit",
                    "leave a zero on and above the diagonal",
                )
            if sum(row) != time:
                self._refuse(f"row {number} of a sums to {sum(row)}, not to c = {time}", "correct the row or its c")
        if sum(self.b) != 1:
            self._refuse(f"the weights b sum to {sum(self.b)}, not to 1", "correct b")
        for condition in order_conditions(self):
            if condition.order <= self.order and condition.residual:
                self._refuse(
                    f"order {self.order} is claimed, but the condition {condition.formula} of order "
                    f"{condition.order} has the residual {condition.residual}",
                    "correct a coefficient, or claim a lower order",
                )

    def _exact(self, numbers: Sequence[Any], place: str) -> Vector:
        for number in numbers:
            if not isinstance(number, int | Fraction) or isinstance(number, bool):
                self._refuse(f"{number!r} in {place} is not an exact fraction", 'write it as Fraction("1/3")')
        return tuple(Fraction(number) for number in numbers)

    def _refuse(self, what: str, fix: str) -> None:
        raise ConfigurationError(what, where=f"tableau '{self.name}'", fix=fix)

    @property
    def stages(self) -> int:
        """Return the gradient evaluations per step."""
        return len(self.b)

    @property
    def registers(self) -> int:
        """Return how many combinations of past gradients are kept between stages."""
        return max((slot + 1 for stage in stage_plans(self) for slot, _ in stage.writes), default=0)

    @property
    def state_copies(self) -> int:
        """Return the number of copies of the parameters that a step keeps, including θ₀.

        With one stage nothing is kept, because the step begins and ends in the same call.
        """
        return 0 if self.stages == 1 else 1 + self.registers


@dataclasses.dataclass(frozen=True)
class OrderCondition:
    """One of the conditions for the order of a method (Hairer, Nørsett and Wanner I, section II.2).

    Attributes:
        order: the lowest order that requires it.
        formula: left and right side of the equation.
        residual: left minus right side, exact.
    """

    order: int
    formula: str
    residual: Fraction


def order_conditions(tableau: Tableau) -> tuple[OrderCondition, ...]:
    """Return the eight conditions up to order 4 with their residuals."""
    a, b, c = tableau.a, tableau.b, tableau.c
    ones = (_ONE,) * len(b)
    ac, acc = _times(a, c), _times(a, _power(c, 2))
    rows = (
        (1, "Σ bᵢ = 1", _dot(b, ones), Fraction(1)),
        (2, "Σ bᵢ cᵢ = 1/2", _dot(b, c), Fraction(1, 2)),
        (3, "Σ bᵢ cᵢ² = 1/3", _dot(b, _power(c, 2)), Fraction(1, 3)),
        (3, "Σ bᵢ aᵢⱼ cⱼ = 1/6", _dot(b, ac), Fraction(1, 6)),
        (4, "Σ bᵢ cᵢ³ = 1/4", _dot(b, _power(c, 3)), Fraction(1, 4)),
        (4, "Σ bᵢ cᵢ aᵢⱼ cⱼ = 1/8", sum(w * t * x for w, t, x in zip(b, c, ac, strict=True)), Fraction(1, 8)),
        (4, "Σ bᵢ aᵢⱼ cⱼ² = 1/12", _dot(b, acc), Fraction(1, 12)),
        (4, "Σ bᵢ aᵢⱼ aⱼₖ cₖ = 1/24", _dot(b, _times(a, ac)), Fraction(1, 24)),
    )
    return tuple(OrderCondition(order, formula, left - right) for order, formula, left, right in rows)


def stability_coefficients(tableau: Tableau) -> Vector:
    """Return the coefficients r of the stability polynomial R(z) = Σ r_j z^j.

    A step multiplies the solution of dθ/dt = λθ by R(hλ). r_0 = 1 and r_j = bᵀ A^{j−1} 1 (Hairer and Wanner,
    Solving Ordinary Differential Equations II, section IV.2).
    """
    coefficients, powers = [_ONE], (_ONE,) * tableau.stages
    for _ in range(tableau.stages):
        coefficients.append(_dot(tableau.b, powers))
        powers = _times(tableau.a, powers)
    return tuple(coefficients)


@dataclasses.dataclass(frozen=True)
class Combination:
    """Σ weight · register + gradient · k, where k is the current gradient."""

    registers: tuple[tuple[int, Fraction], ...]
    gradient: Fraction


@dataclasses.dataclass(frozen=True)
class StagePlan:
    """What one stage does with its gradient.

    Attributes:
        target: the combination that gives the next stage point θ₀ − h · target, or in the last stage the new
            parameters.
        writes: the registers to set, in this order, and their new values; `target` is evaluated before.
    """

    target: Combination
    writes: tuple[tuple[int, Combination], ...]


@functools.cache
def stage_plans(tableau: Tableau) -> tuple[StagePlan, ...]:
    """Return the plan of each stage, which keeps as few registers as possible between stages.

    After the gradient k_i and the move to θ_{i+1}, the rest of the step still needs θ₀ and the partial sums
    Σ_{j≤i} b_j k_j and Σ_{j≤i} a_mj k_j for the later stage points m > i+1. The registers hold a basis of these
    vectors, so their number is the rank of those rows of b and a. A register is labelled with the row whose
    partial sum it holds.

    The parameters θ_{i+1} contain one more combination, which is not used as memory: it could be recovered from
    (θ₀ − θ_{i+1})/h only with the rounding error of θ divided by h, and not at all if a schedule has h = 0.
    """
    size = tableau.stages
    rows: dict[str | int, Vector] = {"b": tableau.b, **dict(enumerate(tableau.a))}
    held: dict[int, str | int] = {}  # slot -> row whose partial sum it holds
    stages = []
    for now in range(size):
        last = now == size - 1
        past = [(slot, rows[label][:now]) for slot, label in held.items()]
        target = _combination(rows["b" if last else now + 1], now, past)
        wanted: list[str | int] = []
        for label in [] if last else ["b", *range(now + 2, size)]:
            if _express(rows[label][: now + 1], [rows[other][: now + 1] for other in wanted]) is None:
                wanted.append(label)
        held, writes = _assign(held, [(label, _combination(rows[label], now, past)) for label in wanted])
        stages.append(StagePlan(target, writes))
    return tuple(stages)


def _combination(row: Vector, now: int, past: list[tuple[int, Vector]]) -> Combination:
    """Return Σ_{j≤now} row_j k_j as a combination of registers (slot, their row so far) and the gradient k_now."""
    weights = _express(row[:now], [vector for _, vector in past])
    assert weights is not None, "the registers span all that a later stage needs"  # noqa: S101
    return Combination(tuple((s, w) for (s, _), w in zip(past, weights, strict=True) if w), row[now])


def _assign(
    held: dict[int, str | int], wanted: list[tuple[str | int, Combination]]
) -> tuple[dict[int, str | int], tuple[tuple[int, Combination], ...]]:
    """Assign a register to each wanted row; return the assignment and the writes in an order that loses nothing.

    A row that already has a register keeps it. A new row is written first, into a free register that no later
    write reads, or into an additional one.
    """
    slot_of = {label: slot for slot, label in held.items()}
    kept = [(slot_of[label], label, made) for label, made in wanted if label in slot_of]
    new = [(label, made) for label, made in wanted if label not in slot_of]
    taken = {slot for slot, _, _ in kept}
    placed = []
    for position, (label, made) in enumerate(new):
        still_read = {slot for _, later in new[position + 1 :] for slot, _ in later.registers}
        slot = next(s for s in range(len(held) + len(wanted) + 1) if s not in taken and s not in still_read)
        taken.add(slot)
        placed.append((slot, label, made))
    # A kept row is its own register plus k, because the registers are independent; so their order does not matter.
    everything = placed + kept
    return {slot: label for slot, label, _ in everything}, tuple((slot, made) for slot, _, made in everything)


def _express(vector: Vector, basis: list[Vector]) -> list[Fraction] | None:
    """Return the weights of independent `basis` vectors that sum to `vector`, or None if there are none."""
    columns = len(basis)
    matrix = [[*(v[i] for v in basis), entry] for i, entry in enumerate(vector)]
    for column in range(columns):
        pivot = next(i for i in range(column, len(matrix)) if matrix[i][column])
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        head = [x / matrix[column][column] for x in matrix[column]]
        matrix = [
            head if i == column else [x - row[column] * y for x, y in zip(row, head, strict=True)]
            for i, row in enumerate(matrix)
        ]
    if any(row[-1] for row in matrix[columns:]):
        return None
    return [row[-1] for row in matrix[:columns]]


def _dot(left: Vector, right: Vector) -> Fraction:
    return sum((x * y for x, y in zip(left, right, strict=True)), _ZERO)


def _times(matrix: tuple[Vector, ...], vector: Vector) -> Vector:
    return tuple(_dot(row, vector) for row in matrix)


def _power(vector: Vector, exponent: int) -> Vector:
    return tuple(x**exponent for x in vector)


def _fractions(*numbers: str) -> Vector:
    return tuple(map(Fraction, numbers))


#: Gradient descent: one step of Euler's method.
EULER = Tableau("euler", a=((),), b=_fractions("1"), c=_fractions("0"), order=1)
#: Heun's method of order 2, the trapezoidal rule made explicit (Heun 1900).
HEUN = Tableau("heun", a=((), _fractions("1")), b=_fractions("1/2", "1/2"), c=_fractions("0", "1"), order=2)
#: The classical method of order 4 (Kutta 1901; Hairer, Nørsett and Wanner I, section II.1).
RK4 = Tableau(
    "rk4",
    a=((), _fractions("1/2"), _fractions("0", "1/2"), _fractions("0", "0", "1")),
    b=_fractions("1/6", "1/3", "1/3", "1/6"),
    c=_fractions("0", "1/2", "1/2", "1"),
    order=4,
)
#: Kutta's 3/8 rule of order 4 (the same sources): smaller error constants, one copy more.
RK4_38 = Tableau(
    "rk4_38",
    a=((), _fractions("1/3"), _fractions("-1/3", "1"), _fractions("1", "-1", "1")),
    b=_fractions("1/8", "3/8", "3/8", "1/8"),
    c=_fractions("0", "1/3", "2/3", "1"),
    order=4,
)
TABLEAUX = {tableau.name: tableau for tableau in (EULER, HEUN, RK4, RK4_38)}
