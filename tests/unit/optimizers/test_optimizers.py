"""The optimizers' steps against independent references in float64."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.integrate import RK23, RK45

from dnatune import optimizers
from dnatune.errors import RunError
from dnatune.optimizers import EULER, HEUN, RK4, RK4_38, TABLEAUX, Tableau
from dnatune.optimizers.runge_kutta import RungeKutta, SingleGradientRK4
from optimizer_flow import SIZE, START, build, drive, parameter, reference_runge_kutta, slope, stages_of

# Convergence


@pytest.mark.parametrize(
    "method, hyperparameters, order",
    [
        ("sgd", {}, 1),
        ("heun", {}, 2),
        ("rk4", {}, 4),
        ("rk4_38", {}, 4),
        ("rkc", {"stages": 5}, 1),
        ("rkc", {"stages": 5, "order": 2}, 2),
    ],
)
def test_order_on_a_nonlinear_flow_with_a_known_solution(method, hyperparameters, order):
    """dx/dt = −tanh x has sinh x(t) = sinh x(0) e^{−t}; a rotation couples the components."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))[0]
    turn = torch.from_numpy(rotation)
    exact = rotation.T @ np.arcsinh(np.sinh(rotation @ START) * np.exp(-2.0))
    counts, errors = [16, 32, 64, 128], []
    for count in counts:
        theta = parameter()
        optimizer = build(method, [theta], learning_rate=2.0 / count, **hyperparameters)
        calls = count * stages_of(method, hyperparameters)
        drive(optimizer, [theta], calls, lambda point: turn.T @ torch.tanh(turn @ point))
        errors.append(np.linalg.norm(theta.detach().numpy() - exact))
    assert measured_order(counts, errors) == pytest.approx(order, abs=0.1)


def measured_order(counts, errors):
    """Return the slope of the error against the number of steps, on logarithmic scales."""
    return -np.polyfit(np.log(counts), np.log(errors), 1)[0]


def test_rk4_on_the_clipped_field_has_order_4_only_where_nothing_is_clipped():
    """Of ∇L = θ³ with bound b, θ falls by b per unit of time, and from c = b^(1/3) on it is (2t + c⁻²)^(−1/2).

    The error of one step has order 5 beside that kink and order 2 across it.
    """
    bound = 8.0
    kink = bound ** (1 / 3)

    def error(step, start):
        theta = parameter([start])
        drive(build("rk4", [theta], bound, "stages", learning_rate=step), [theta], 4, lambda point: point**3)
        rest = step - max(start - kink, 0.0) / bound
        return abs(theta.item() - (2 * rest + min(start, kink) ** -2) ** -0.5)

    beside, across = [0.04, 0.02, 0.01], [0.004, 0.002, 0.001]
    found = -measured_order(beside, [error(step, kink - 0.1) for step in beside])
    assert found == pytest.approx(5, abs=0.2)
    found = -measured_order(across, [error(step, kink + 0.3 * bound * step) for step in across])
    assert found == pytest.approx(2, abs=0.2)


# Steps against references


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("name", TABLEAUX)
def test_steps_equal_the_textbook_formula(name, weight_decay):
    theta, expected = parameter(), START
    optimizer = RungeKutta([theta], 0.2, TABLEAUX[name], weight_decay=weight_decay)
    for _ in range(3):
        drive(optimizer, [theta], TABLEAUX[name].stages)
        expected, combined = reference_runge_kutta(
            expected, 0.2, TABLEAUX[name].a, TABLEAUX[name].b, lambda x: slope(x) + weight_decay * x
        )
        np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=0, atol=1e-13)
        assert optimizer.last_update_norm == pytest.approx(np.linalg.norm(combined), abs=1e-12)


def test_the_reference_tells_the_methods_apart():
    """Classical RK4 and the 3/8 rule differ by more than the tolerance above, so it can tell them apart."""
    results = [reference_runge_kutta(START, 0.2, t.a, t.b, slope)[0] for t in (EULER, HEUN, RK4, RK4_38)]
    gaps = [np.abs(x - y).max() for i, x in enumerate(results) for y in results[:i]]
    assert min(gaps) > 1e-6


@pytest.mark.parametrize("solver", [RK23, RK45])
def test_any_explicit_tableau_steps_like_scipys(solver):
    """A method with six stages, for which registers are freed and reused."""

    def exact(numbers):
        return tuple(Fraction(float(x)).limit_denominator(100_000) for x in numbers)

    rows = tuple(exact(row[:i]) for i, row in enumerate(solver.A))
    tableau = Tableau(solver.__name__, a=rows, b=exact(solver.B), c=exact(solver.C), order=3)
    theta = parameter()
    optimizer = RungeKutta([theta], 0.2, tableau)
    drive(optimizer, [theta], tableau.stages)
    oracle = solver(lambda _, y: -slope(y), 0.0, START, 0.2, first_step=0.2, rtol=1e3, atol=1e3)
    oracle.step()
    assert oracle.t == 0.2
    np.testing.assert_allclose(theta.detach().numpy(), oracle.y, rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("stages", range(2, 17))
def test_rkc_on_a_quadratic_multiplies_by_its_polynomial(stages, order):
    settings = {"stages": stages, "damping": 0.05, "order": order}
    h = 0.01
    limit = optimizers.real_stability_limit("rkc", **settings)
    eigenvalues = torch.linspace(0, limit / h, 40, dtype=torch.float64)
    theta = parameter(np.ones(40))
    optimizer = build("rkc", [theta], learning_rate=h, **settings)
    factor = optimizers.stability_polynomial("rkc", -h * eigenvalues.numpy(), **settings)
    for step in (1, 2, 3):
        drive(optimizer, [theta], stages, lambda point: eigenvalues * point)
        np.testing.assert_allclose(theta.detach().numpy(), factor**step, rtol=0, atol=1e-12)


def test_rkc_holds_where_as_many_descent_steps_explode_and_fails_beyond_its_limit():
    h, stages = 1.0, 6
    limit = optimizers.real_stability_limit("rkc", stages=stages)
    assert limit > 2.785 * stages / 4 * 10

    def after(method, curvature, count, **settings):
        theta = parameter(np.ones(1))
        optimizer = build(method, [theta], learning_rate=h, **settings)
        drive(optimizer, [theta], count, lambda point: curvature * point)
        return abs(theta.item())

    assert after("rkc", 0.98 * limit, 40 * stages, stages=stages) < 1
    assert after("rkc", 1.02 * limit, 40 * stages, stages=stages) > 1e3
    assert after("sgd", 0.98 * limit, 40) > 1e3


def seed_step(theta, gradient, h, weight_decay):
    """Do the arithmetic of the original `RK4Optimizer.step`, operation by operation."""
    original = theta.clone()
    grad = gradient.clone()
    if weight_decay != 0:
        grad.add_(theta, alpha=weight_decay)
    k1 = -h * grad
    k2 = k3 = k4 = k1
    theta.copy_(original + (k1 + 2 * k2 + 2 * k3 + k4) / 6.0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_the_single_gradient_method_is_the_originals_and_sgd(weight_decay):
    ours, sgd, seed = parameter(), parameter(), torch.from_numpy(START.copy())
    optimizer = build("rk4_single_gradient", [ours], learning_rate=5e-3, weight_decay=weight_decay)
    oracle = torch.optim.SGD([sgd], lr=5e-3, weight_decay=weight_decay)
    for _ in range(200):
        drive(optimizer, [ours], 1)
        drive(oracle, [sgd], 1)
        seed_step(seed, slope(seed), 5e-3, weight_decay)
    moved = np.abs(sgd.detach().numpy() - START).max()
    assert moved > 0.1
    assert (ours.detach() - seed).abs().max() <= 1e-12
    assert (ours - sgd).abs().max() <= 1e-12


def test_the_single_gradient_method_is_not_runge_kutta():
    ours, rk4 = parameter(), parameter()
    drive(build("rk4_single_gradient", [ours]), [ours], 5)
    drive(build("rk4", [rk4]), [rk4], 20)
    assert (ours - rk4).abs().max() > 1e-2


def test_the_single_gradient_method_decays_by_group_and_needs_gradients():
    decayed, free = parameter(), parameter()
    groups = [{"params": [decayed], "weight_decay": 0.5}, {"params": [free]}]
    optimizer = SingleGradientRK4(groups, lr=0.1)
    decayed.grad, free.grad = torch.zeros_like(decayed), torch.zeros_like(free)
    optimizer.step()
    np.testing.assert_allclose(decayed.detach(), 0.95 * START, rtol=1e-14)
    np.testing.assert_array_equal(free.detach(), START)
    free.grad = None
    with pytest.raises(RunError, match="has no gradient"):
        optimizer.step()


def reference_rk4_adam(theta, steps, h, beta2, epsilon, weight_decay, max_norm=None):
    moment, norm = np.zeros_like(theta), None
    for n in range(1, steps + 1):
        moment = beta2 * moment + (1 - beta2) * slope(theta) ** 2
        scale = np.sqrt(moment / (1 - beta2**n)) + epsilon
        bound = scale * np.sqrt((1 - beta2**n) / (1 - beta2))
        k1 = slope(theta)
        assert (np.abs(k1) <= bound).all()
        k2 = np.clip(slope(theta - h / 2 * k1 / scale), -bound, bound)
        k3 = np.clip(slope(theta - h / 2 * k2 / scale), -bound, bound)
        k4 = np.clip(slope(theta - h * k3 / scale), -bound, bound)
        combined = (k1 + 2 * k2 + 2 * k3 + k4) / 6
        norm = np.linalg.norm(combined)
        if max_norm:
            combined = combined * min(1, max_norm / (norm + 1e-6))
        theta = (1 - h * weight_decay) * theta - h * combined / scale
    return theta, norm


@pytest.mark.parametrize("max_norm", [0.0, 0.3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_rk4_adam_equals_its_formula(weight_decay, max_norm):
    theta = parameter()
    settings = {"learning_rate": 0.05, "beta2": 0.9, "epsilon": 1e-4, "weight_decay": weight_decay}
    optimizer = build("rk4_adam", [theta], max_norm, **settings)
    drive(optimizer, [theta], 5 * 4)
    expected, norm = reference_rk4_adam(START, 5, 0.05, 0.9, 1e-4, weight_decay, max_norm)
    np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=0, atol=1e-13)
    assert optimizer.last_update_norm == pytest.approx(norm, rel=1e-12)


def test_rk4_adam_starts_where_half_of_the_gradient_is_zero():
    """A product as in a new LoRA adapter: the gradient of `down` is 0 until `up` is not 0."""
    down, up = parameter(np.ones(4)), parameter(np.zeros(4))
    optimizer = build("rk4_adam", [down, up], learning_rate=0.05)
    losses = []
    for _ in range(40 * 4):
        loss = ((down * up - torch.arange(1.0, 5.0, dtype=torch.float64)) ** 2).sum()
        losses.append(loss.item())
        for tensor, gradient in zip((down, up), torch.autograd.grad(loss, (down, up)), strict=True):
            tensor.grad = gradient
        before = torch.stack([down, up]).detach().clone()
        optimizer.step()
        if len(losses) == 1:
            assert torch.equal(down, before[0])
        elif len(losses) <= 4:
            # Adam's bound of the first step.
            assert (torch.stack([down, up]) - torch.tensor([[1.0], [0.0]])).abs().max() <= 0.05 * (1 + 1e-9)
    assert losses[-1] < 0.2 * losses[0]


def test_rk4_adam_hides_no_infinite_gradient():
    theta = parameter()
    optimizer = build("rk4_adam", [theta], learning_rate=0.05)
    for stage in range(4):
        theta.grad = torch.ones_like(theta) * (math.inf if stage == 2 else 1.0)
        optimizer.step()
    assert not math.isfinite(optimizer.last_update_norm)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_lion_equals_its_formula(weight_decay):
    """Algorithm 2 of the paper, in numpy; the weights cross zero, where a sign is decided anew."""
    theta, expected, average = parameter(), START, np.zeros(SIZE)
    optimizer = build("lion", [theta], learning_rate=0.07, weight_decay=weight_decay)
    for _ in range(30):
        drive(optimizer, [theta], 1)
        gradient = slope(expected)
        update = np.sign(0.9 * average + 0.1 * gradient)
        expected = expected - 0.07 * (update + weight_decay * expected)
        average = 0.99 * average + 0.01 * gradient
        np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=0, atol=1e-13)
    assert (np.sign(expected) != np.sign(START)).any()
