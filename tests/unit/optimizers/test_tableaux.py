"""Tableaux, their order conditions, their registers and the stability polynomials, all without torch."""

import dataclasses
import random
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from numpy.polynomial import chebyshev as numpy_chebyshev

from dnatune.errors import ConfigurationError
from dnatune.optimizers import (
    RK4,
    RK4_38,
    TABLEAUX,
    Tableau,
    chebyshev,
    order_conditions,
    real_stability_limit,
    stability_polynomial,
)
from dnatune.optimizers.tableaux import stage_plans

F = Fraction


@pytest.mark.parametrize("name, order", [("euler", 1), ("heun", 2), ("rk4", 4), ("rk4_38", 4)])
def test_order_conditions_hold_exactly_and_no_further(name, order):
    residuals = {c.formula: (c.order, c.residual) for c in order_conditions(TABLEAUX[name])}
    assert len(residuals) == 8
    assert all(isinstance(residual, Fraction) for _, residual in residuals.values())
    assert all(residual == 0 for at, residual in residuals.values() if at <= order)
    if order < 4:
        assert any(residual != 0 for at, residual in residuals.values() if at == order + 1)


@pytest.mark.parametrize("delta", [F(1, 10**12), F(-1, 7)])
def test_a_perturbed_tableau_loses_its_order(delta):
    """The rows still sum to c and b to 1, so only the higher order conditions detect the change."""
    b = (RK4.b[0], RK4.b[1] + delta, RK4.b[2] - delta, RK4.b[3])
    residuals = [c.residual for c in order_conditions(dataclasses.replace(RK4, b=b, order=2))]
    assert residuals[:2] == [0, 0]
    assert any(residuals[2:])
    with pytest.raises(ConfigurationError, match="order 4 is claimed, but the condition"):
        dataclasses.replace(RK4, b=b)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"c": (F(0), F(1, 2), F(1, 3), F(1))}, "row 3 of a sums to 1/2, not to c = 1/3"),
        ({"b": (F(1, 6), F(1, 3), F(1, 3), F(1, 3))}, "the weights b sum to 7/6, not to 1"),
        ({"a": ((), (F(0), F(1, 2)), (F(0), F(1, 2)), (F(0), F(0), F(1)))}, "row 2 of a uses stage 2"),
        ({"b": (1 / 6, 1 / 3, 1 / 3, 1 / 6)}, "0.1666.* in b is not an exact fraction"),
        ({"a": RK4.a[:3]}, "a has 3 rows, b 4 and c 4 entries"),
    ],
)
def test_bad_tableaux_are_refused(change, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        dataclasses.replace(RK4, name="mine", **change)
    assert "tableau 'mine'" in str(caught.value) and caught.value.fix


def _random_tableau(generator: random.Random, size: int) -> Tableau:
    """Return a random consistent tableau with frequent zeros and repeated rows."""
    numbers = [F(0), F(0), F(1), F(-1, 2), F(2, 3), F(5, 7)]
    a = [tuple(generator.choice(numbers) for _ in range(i)) for i in range(size)]
    if size > 3 and generator.random() < 0.5:
        a[3] = (*a[2], F(0))
    b = [generator.choice(numbers) for _ in range(size - 1)]
    b.append(1 - sum(b))
    c = [sum(row, F(0)) for row in a]
    return Tableau("random", a=tuple(a), b=tuple(b), c=tuple(c), order=1)


def _unroll(tableau: Tableau) -> list[tuple[Fraction, ...]]:
    """Return the rows over all gradients that the plans apply, with registers that initially hold rubbish."""
    size = tableau.stages
    registers: dict[int, list[Fraction]] = {slot: [F(10**6)] * size for slot in range(tableau.registers)}

    def value(made, gradient):
        total = [F(0)] * size
        for slot, weight in made.registers:
            total = [x + weight * y for x, y in zip(total, registers[slot], strict=True)]
        total[gradient] += made.gradient
        return total

    rows = []
    for now, stage in enumerate(stage_plans(tableau)):
        rows.append(tuple(value(stage.target, now)))
        for slot, made in stage.writes:
            registers[slot] = value(made, now)
    return rows


def _rank_needed(tableau: Tableau) -> int:
    """Return the largest rank, over the gaps between stages, of the rows that later stages need."""
    a, b = np.array(tableau.a, dtype=float), np.array(tableau.b, dtype=float)
    needed = [np.vstack([b[:i], a[i + 1 :, :i]]) for i in range(1, tableau.stages)]
    return max((int(np.linalg.matrix_rank(rows)) for rows in needed), default=0)


def test_a_plan_applies_exactly_its_tableau_with_as_few_registers_as_its_rank():
    generator = random.Random(5)
    tableaux = [*TABLEAUX.values(), *(_random_tableau(generator, 1 + i % 6) for i in range(120))]
    for tableau in tableaux:
        assert _unroll(tableau) == [*tableau.a[1:], tableau.b]
        assert tableau.registers == _rank_needed(tableau)


def test_copies_of_the_named_methods():
    assert {name: t.state_copies for name, t in TABLEAUX.items()} == {
        "euler": 0,
        "heun": 2,
        "rk4": 2,
        "rk4_38": 3,
    }


def test_the_midpoint_rule_needs_its_start_alone():
    midpoint = Tableau("midpoint", a=((), (F(1, 2),)), b=(F(0), F(1)), c=(F(0), F(1, 2)), order=2)
    assert midpoint.state_copies == 1


def test_stability_polynomials_are_the_truncated_exponential():
    """Every method of order p with p stages has R(z) = Σ_{j≤p} z^j/j!."""
    z = np.array([-2.5, -1.0, 0.3, 0.5 + 2j])
    for name, order in (("sgd", 1), ("heun", 2), ("rk4", 4), ("rk4_38", 4)):
        expected = sum(z**j / float(np.prod(np.arange(1, j + 1))) for j in range(order + 1))
        np.testing.assert_allclose(stability_polynomial(name, z), expected, rtol=1e-14)


def test_stability_limits():
    assert real_stability_limit("sgd") == pytest.approx(2, abs=1e-12)
    assert real_stability_limit("heun") == pytest.approx(2, abs=1e-12)
    # Hairer and Wanner II, section IV.2: about 2.785 for all methods of order 4 with four stages.
    for tableau in (RK4, RK4_38):
        assert real_stability_limit(tableau.name) == pytest.approx(2.785293563405282, abs=1e-9)
    with pytest.raises(ConfigurationError, match="'adamw' has no stability polynomial"):
        real_stability_limit("adamw")


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("damping", [0.0, 0.05, 2 / 13, 1.0])
@pytest.mark.parametrize("stages", [2, 3, 4, 7, 10, 16])
def test_chebyshev_damps_its_interval_and_not_more(stages, damping, order):
    method = chebyshev(stages, damping, order)
    limit = real_stability_limit("rkc", stages=stages, damping=damping, order=order)
    inside = np.abs(stability_polynomial("rkc", -np.linspace(0, limit, 20_001), **_settings(method)))
    assert inside.max() <= 1 + 1e-12

    damped = np.linspace((method.omega0 - 1) / method.omega1, method.damped_limit, 20_001)
    bound = abs(method.shift) + method.scale
    assert np.abs(method.stability(-damped)).max() <= bound + 1e-12
    if damping:
        # The documented size of the damping; the next term of either series is below 0.9 ε².
        leading = damping if order == 1 else damping / 3 * (1 - 1 / stages**2)
        assert bound == pytest.approx(1 - leading, abs=0.9 * damping**2)
        assert bound < 1 - 0.3 * leading
    beyond = np.abs(method.stability(-limit * 1.01))
    assert beyond > 1 + 1e-4


@pytest.mark.parametrize("stages", [2, 5, 16])
def test_first_order_chebyshev_against_numpys_polynomials(stages):
    """The published ω₁ and limits, computed with another implementation of T_s; the limit grows as (2 − 4ε/3)s²."""
    damping = 0.05
    series = np.eye(stages + 1)[stages]
    omega0 = 1 + damping / stages**2
    top = numpy_chebyshev.chebval(omega0, series)
    omega1 = top / numpy_chebyshev.chebval(omega0, numpy_chebyshev.chebder(series))
    z = np.linspace(-1.1 * 2 * stages**2, 1, 50)
    expected = numpy_chebyshev.chebval(omega0 + omega1 * z, series) / top
    method = chebyshev(stages, damping)
    np.testing.assert_allclose(method.stability(z), expected, rtol=1e-10, atol=1e-12)
    assert method.stability_limit == pytest.approx(2 * omega0 / omega1, rel=1e-12)
    assert method.damped_limit == pytest.approx((2 - 4 / 3 * damping) * stages**2, rel=5e-3)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("stages", [2, 3, 8])
def test_chebyshev_agrees_with_the_exponential_up_to_its_order(stages, order):
    small = 1e-3
    error = abs(chebyshev(stages, 0.05, order).stability(-small) - np.exp(-small))
    assert error < small ** (order + 1)


def test_the_undamped_second_order_method_with_two_stages_is_heuns():
    z = np.linspace(-2, 1, 9)
    np.testing.assert_allclose(chebyshev(2, 0.0, 2).stability(z), stability_polynomial("heun", z), atol=1e-15)


def test_checking_a_configuration_does_not_import_torch():
    code = (
        "import sys; from dnatune import optimizers as o; "
        "[o.validate(m, {'learning_rate': 1e-3}) for m in (*o.METHODS, 'RMSprop', 'my.code:Class')]; "
        "o.stages('rkc', o.validate('rkc', {'learning_rate': 1})); o.real_stability_limit('rkc'); "
        "sys.exit('torch' in sys.modules)"
    )
    scripts = next(path for path in sys.path if path.endswith("/workflow"))
    assert subprocess.run([sys.executable, "-c", code], cwd=scripts, timeout=60).returncode == 0


def _settings(method):
    return {"stages": method.stages, "damping": method.damping, "order": method.order}
