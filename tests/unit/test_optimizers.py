"""The optimizers against independent references in float64, and the registry against bad input."""

import concurrent.futures
import io
import math
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.integrate import RK23, RK45
from torch import nn

from dnatune import optimizers
from dnatune.errors import ConfigurationError, RunError
from dnatune.optimizers import EULER, HEUN, RK4, RK4_38, TABLEAUX, Tableau
from dnatune.optimizers.runge_kutta import (
    ChebyshevRungeKutta,
    RungeKutta,
    RungeKuttaAdam,
    SingleGradientRK4,
)
from dnatune.optimizers.staged import undisturbed

SIZE = 7
_GENERATOR = np.random.default_rng(3)
_ROOT = _GENERATOR.normal(size=(SIZE, SIZE)) / 3
CURVATURE = _ROOT @ _ROOT.T
START = _GENERATOR.normal(size=SIZE)

#: (method, hyperparameters beside the learning rate) with several gradients a step.
STAGED = [
    ("heun", {}),
    ("rk4", {}),
    ("rk4_38", {}),
    ("rkc", {"stages": 2}),
    ("rkc", {"stages": 3, "order": 2}),
    ("rkc", {"stages": 7}),
    ("rk4_adam", {}),
]
ALL = [*STAGED, ("sgd", {}), ("sgd", {"momentum": 0.9}), ("adamw", {}), ("rk4_single_gradient", {})]


def slope(theta):
    """Return the gradient of θᵀKθ/2 + Σθ⁴/4, for arrays and tensors."""
    matrix = CURVATURE if isinstance(theta, np.ndarray) else torch.from_numpy(CURVATURE).to(theta.dtype)
    return matrix @ theta + theta**3


def parameter(values=START, dtype=torch.float64):
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def drive(optimizer, parameters, calls, gradient=slope):
    """Call `step` so many times, each with the gradient at the point the parameters are at."""
    for _ in range(calls):
        flat = gradient(torch.cat([p.detach().flatten() for p in parameters]))
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p).clone()
        optimizer.step()


def build(method, parameters, max_grad_norm=0.0, **hyperparameters):
    hyperparameters = {"learning_rate": 0.1, **hyperparameters}
    return optimizers.build(method, parameters, hyperparameters, max_grad_norm)


def stages_of(method, hyperparameters):
    return optimizers.stages(method, optimizers.validate(method, {"learning_rate": 0.1, **hyperparameters}))


def reference_runge_kutta(theta, h, a, b, gradient):
    """Return the step and the combined gradient, by the textbook formula and with all gradients kept."""
    ks = []
    for row in a:
        ks.append(gradient(theta - h * sum((float(w) * k for w, k in zip(row, ks, strict=False)), 0 * theta)))
    combined = sum(float(w) * k for w, k in zip(b, ks, strict=True))
    return theta - h * combined, combined


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
    measured = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert measured == pytest.approx(order, abs=0.1)


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
    """The tolerance above would be worthless if classical RK4 and the 3/8 rule agreed within it."""
    results = [reference_runge_kutta(START, 0.2, t.a, t.b, slope)[0] for t in (EULER, HEUN, RK4, RK4_38)]
    gaps = [np.abs(x - y).max() for i, x in enumerate(results) for y in results[:i]]
    assert min(gaps) > 1e-6


@pytest.mark.parametrize("solver", [RK23, RK45])
def test_any_explicit_tableau_steps_like_scipys(solver):
    """Six stages in general position, where registers are given up and taken again."""

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
    """The arithmetic of the original `RK4Optimizer.step`, operation by operation."""
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
    """As a fresh LoRA adapter does: the gradient by `down` is 0 until `up` has left 0."""
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


# Stages, state, memory


@pytest.mark.parametrize("method, hyperparameters", ALL)
def test_state_is_as_large_as_declared(method, hyperparameters):
    parameters = [parameter(np.ones(SIZE)), nn.Parameter(torch.ones(4, 5, dtype=torch.float64))]
    optimizer = build(method, parameters, **hyperparameters)
    chosen = optimizers.validate(method, {"learning_rate": 0.1, **hyperparameters})
    declared = optimizers.state_copies(method, chosen) * 8 * (SIZE + 20)
    for steps in (1, 2):
        drive(optimizer, parameters, steps * stages_of(method, hyperparameters), lambda point: point)
        # torch's Adam counts its steps in a 0-d tensor.
        held = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t) and t.dim()]
        assert sum(t.numel() * t.element_size() for t in held) == declared


def test_heun_and_rk4_keep_two_copies():
    for method in ("heun", "rk4"):
        assert optimizers.METHODS[method].state_copies == 2


@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_state_is_allocated_once(method, hyperparameters):
    """DeepSpeed keeps views of the state tensors, so new ones would cost memory twice."""
    theta = parameter()
    optimizer = build(method, [theta], **hyperparameters)
    drive(optimizer, [theta], 1)
    first = dict(optimizer.state[theta])
    drive(optimizer, [theta], 3 * stages_of(method, hyperparameters))
    assert optimizer.state[theta].keys() == first.keys()
    assert all(optimizer.state[theta][name] is tensor for name, tensor in first.items())


@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_a_step_is_exactly_its_stages(method, hyperparameters):
    theta = parameter()
    optimizer = build(method, [theta], **hyperparameters)
    stages = stages_of(method, hyperparameters)
    assert optimizer.stages == stages > 1
    for step in (1, 2, 3):
        before = optimizer.last_update_norm
        for stage in range(1, stages):
            drive(optimizer, [theta], 1)
            assert optimizer.stage == stage
            assert optimizer.last_update_norm == before
        drive(optimizer, [theta], 1)
        assert optimizer.stage == 0
        assert optimizer.last_update_norm != before
        assert optimizer.param_groups[0]["step"] == step


@pytest.mark.parametrize("method, hyperparameters", ALL)
def test_specification_and_class_agree(method, hyperparameters):
    spec = optimizers.specification(method)
    chosen = optimizers.validate(method, {"learning_rate": 0.1, **hyperparameters})
    optimizer = optimizers.build(method, [parameter()], chosen)
    assert optimizers.stages(method, chosen) == getattr(optimizer, "stages", 1)
    assert (spec.clipping == "update") == (optimizers.stages(method, chosen) > 1)
    assert optimizers.engine_clipping(method, 1.5) == (0.0 if spec.clipping == "update" else 1.5)
    if hasattr(optimizer, "weight_decay_style"):
        assert spec.weight_decay_style == optimizer.weight_decay_style
        assert optimizers.state_copies(method, chosen) == optimizer.state_copies
    assert spec.experimental == (method == "rk4_adam")


@pytest.mark.parametrize("method, hyperparameters", ALL)
def test_declared_weight_decay_style_is_what_happens(method, hyperparameters):
    """With zero gradients, decoupled decay scales by 1 − hw; coupled decay integrates dθ/dt = −wθ instead."""
    theta = parameter()
    optimizer = build(method, [theta], weight_decay=0.5, **hyperparameters)
    drive(optimizer, [theta], stages_of(method, hyperparameters), torch.zeros_like)
    if optimizers.specification(method).weight_decay_style == "decoupled" or method.startswith("sgd"):
        factor = 1 - 0.1 * 0.5
    else:
        factor = optimizers.stability_polynomial(method, -0.1 * 0.5, **hyperparameters)
    np.testing.assert_allclose(theta.detach().numpy(), factor * START, rtol=1e-14)


@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_flat_shards_step_like_separate_tensors(method, hyperparameters):
    flat = parameter()
    separate = [nn.Parameter(flat.detach()[:4].clone().view(2, 2)), nn.Parameter(flat.detach()[4:].clone())]
    calls = 3 * stages_of(method, hyperparameters)
    settings = {"weight_decay": 0.1, **hyperparameters}
    drive(build(method, [flat], 0.4, **settings), [flat], calls)
    drive(build(method, separate, 0.4, **settings), separate, calls)
    joined = torch.cat([p.detach().flatten() for p in separate])
    # The norm adds its terms in another order; one bit of it is all that may differ.
    torch.testing.assert_close(joined, flat.detach(), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_state_at_a_boundary_is_not_read(method, hyperparameters):
    thetas = [parameter(), parameter()]
    built = [build(method, [theta], **hyperparameters) for theta in thetas]
    stages = stages_of(method, hyperparameters)
    for optimizer, theta in zip(built, thetas, strict=True):
        drive(optimizer, [theta], stages)
    for name, tensor in built[1].state[thetas[1]].items():
        if name != "second_moment":
            tensor.fill_(math.nan)
    for optimizer, theta in zip(built, thetas, strict=True):
        drive(optimizer, [theta], stages)
    assert torch.equal(*thetas)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_a_resumed_step_is_bitwise_the_uninterrupted_one(method, hyperparameters, dtype):
    stages = stages_of(method, hyperparameters)
    whole = parameter(dtype=dtype)
    settings = {"weight_decay": 0.1, **hyperparameters}
    drive(build(method, [whole], 1.0, **settings), [whole], 3 * stages)
    for cut in range(stages, 2 * stages + 1):
        first = parameter(dtype=dtype)
        optimizer = build(method, [first], 1.0, **settings)
        drive(optimizer, [first], cut)
        stream = io.BytesIO()
        torch.save({"theta": first.detach(), "optimizer": optimizer.state_dict()}, stream)
        stream.seek(0)
        saved = torch.load(stream)
        second = parameter(saved["theta"].numpy(), dtype)
        # Other numbers at construction must give way to the saved ones.
        resumed = build(method, [second], 0.0, **{**settings, "learning_rate": 0.7, "weight_decay": 0.9})
        resumed.load_state_dict(saved["optimizer"])
        assert resumed.stage == cut % stages
        drive(resumed, [second], 3 * stages - cut)
        assert torch.equal(second, whole), f"cut after {cut} calls"


def test_a_missing_gradient_counts_as_zero():
    pairs = []
    for missing in (True, False):
        used, unused = parameter(), parameter()
        optimizer = RungeKutta([used, unused], 0.1, weight_decay=0.2)
        for _ in range(4):
            used.grad = slope(used.detach())
            unused.grad = None if missing else torch.zeros_like(unused)
            optimizer.step()
        pairs.append((used, unused, optimizer.last_update_norm))
    assert torch.equal(pairs[0][0], pairs[1][0]) and torch.equal(pairs[0][1], pairs[1][1])
    assert pairs[0][2] == pairs[1][2]
    assert not torch.equal(pairs[0][1], parameter())


# Clipping


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("method", ["heun", "rk4", "rk4_38"])
def test_clipping_acts_on_the_combined_update(method, weight_decay):
    theta, tableau = parameter(), TABLEAUX[method]
    optimizer = build(method, [theta], 0.25, weight_decay=weight_decay)
    drive(optimizer, [theta], tableau.stages)
    unclipped, combined = reference_runge_kutta(START, 0.1, tableau.a, tableau.b, lambda x: slope(x) + weight_decay * x)
    norm = np.linalg.norm(combined)
    assert norm > 0.5  # or nothing would be clipped
    expected = START + (unclipped - START) * 0.25 / (norm + 1e-6)
    np.testing.assert_allclose(theta.detach().numpy(), expected, rtol=0, atol=1e-13)
    assert optimizer.last_update_norm == pytest.approx(norm, rel=1e-13)
    assert np.linalg.norm((START - theta.detach().numpy()) / 0.1) == pytest.approx(0.25, rel=1e-5)


def test_one_stage_is_clipped_as_torch_clips_a_gradient():
    ours, theirs = parameter(), parameter()
    optimizer, oracle = RungeKutta([ours], 0.1, EULER, max_norm=0.3), torch.optim.SGD([theirs], lr=0.1)
    for _ in range(3):
        drive(optimizer, [ours], 1)
        theirs.grad = slope(theirs.detach())
        norm = nn.utils.clip_grad_norm_([theirs], 0.3)
        oracle.step()
        assert optimizer.last_update_norm == pytest.approx(norm.item(), rel=1e-14)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_a_wide_bound_clips_nothing():
    thetas = [parameter(), parameter(), parameter()]
    for theta, bound in zip(thetas, (0.0, 1e6, None), strict=True):
        drive(RungeKutta([theta], 0.1, RK4, max_norm=bound), [theta], 8)
    assert torch.equal(thetas[0], thetas[1]) and torch.equal(thetas[0], thetas[2])


@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_shards_with_a_reduced_norm_step_like_the_whole(method, hyperparameters):
    """Two threads in place of two ranks under ZeRO, and a list behind a barrier in place of the all-reduce."""
    stages, steps = stages_of(method, hyperparameters), 2
    whole = parameter()
    reference = build(method, [whole], 0.25, **hyperparameters)
    drive(reference, [whole], steps * stages)

    shards = [parameter(START[:4]), parameter(START[4:])]
    ranks = [build(method, [shard], 0.25, **hyperparameters) for shard in shards]
    squares, meet = [], threading.Barrier(2, timeout=30)

    def reduce(square):
        assert square.dtype == torch.float64 and square.dim() == 0
        squares.append(square)
        meet.wait()
        return squares[-1] + squares[-2]

    def run(rank):
        ranks[rank].norm_reduce = reduce
        for _ in range(steps * stages):
            point = torch.cat([shard.detach() for shard in shards])
            meet.wait()
            shards[rank].grad = slope(point).split([4, SIZE - 4])[rank].clone()
            ranks[rank].step()
            meet.wait()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert len(squares) == 2 * steps
    joined = torch.cat([shard.detach() for shard in shards])
    torch.testing.assert_close(joined, whole.detach(), rtol=0, atol=1e-14)
    for rank in ranks:
        assert rank.last_update_norm == pytest.approx(reference.last_update_norm, rel=1e-13)


# Safety


@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_a_learning_rate_of_zero_moves_nothing_and_still_has_a_norm(method, hyperparameters):
    theta = parameter()
    optimizer = build(method, [theta], 1.0, weight_decay=0.1, **hyperparameters)
    optimizer.param_groups[0]["lr"] = 0.0
    drive(optimizer, [theta], stages_of(method, hyperparameters))
    np.testing.assert_array_equal(theta.detach().numpy(), START)
    assert 0 < optimizer.last_update_norm < math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("bad_stage", [0, -1])
@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_a_gradient_that_is_not_finite_shows_in_the_norm(method, hyperparameters, bad_stage, bad):
    theta = parameter()
    optimizer = build(method, [theta], 1.0, **hyperparameters)
    stages = stages_of(method, hyperparameters)
    for stage in range(stages):
        theta.grad = slope(theta.detach())
        if stage == bad_stage % stages:
            theta.grad[0] = bad
        optimizer.step()
    assert not math.isfinite(optimizer.last_update_norm)


def test_a_diverging_run_shows_in_the_norm():
    theta = parameter(dtype=torch.float32)
    optimizer = build("rk4", [theta], learning_rate=50.0)
    for _ in range(20):
        drive(optimizer, [theta], 4)
        if not math.isfinite(optimizer.last_update_norm):
            return
    pytest.fail("still finite")


@pytest.mark.parametrize("optimizer_class", [RungeKutta, ChebyshevRungeKutta, RungeKuttaAdam])
def test_several_groups_are_refused(optimizer_class):
    with pytest.raises(ConfigurationError, match="several parameter groups; ZeRO steps group by group"):
        optimizer_class([{"params": [parameter()]}, {"params": [parameter()]}], lr=0.1)
    with pytest.raises(ConfigurationError, match="several parameter groups"):
        optimizer_class([parameter()], lr=0.1).add_param_group({"params": [parameter()]})


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"lr": math.nan}, {"weight_decay": -0.1}, {"max_norm": -1.0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigurationError, match=f"{next(iter(wrong))} is "):
        RungeKutta([parameter()], **{"lr": 0.1, **wrong})


def test_a_learning_rate_that_changes_in_mid_step_is_refused():
    theta = parameter()
    optimizer = build("rk4", [theta])
    drive(optimizer, [theta], 2)
    optimizer.param_groups[0]["lr"] = 0.2
    with pytest.raises(RunError, match=r"went from 0.1 to 0.2 after 2 of 4 stages"):
        drive(optimizer, [theta], 1)


def test_closures_are_refused():
    for optimizer in (RungeKutta([parameter()], 0.1), SingleGradientRK4([parameter()], 0.1)):
        with pytest.raises(RunError, match="takes no closure"):
            optimizer.step(lambda: 0.0)


# As DeepSpeed drives an optimizer


def test_parameters_may_be_replaced_and_taken_away_between_calls():
    """ZeRO puts flat fp32 shards in place of the parameters; stage 3 hands them over for each call alone."""
    plain, shard = parameter(), parameter()
    expected = build("rk4", [plain])
    drive(expected, [plain], 8)
    optimizer = build("rk4", [nn.Parameter(torch.zeros(3, 3))])
    (group,) = optimizer.param_groups
    for _ in range(8):
        group["params"] = [shard]
        drive(optimizer, [shard], 1)
        group["params"] = []
    assert torch.equal(plain, shard)


def test_parameters_in_portions_are_refused():
    """ZeRO 3 calls step() once for each sub-group of its parameters, which would each count as a stage."""
    first, second = parameter(), parameter()
    optimizer = build("rk4", [first, second])
    (group,) = optimizer.param_groups
    group["params"] = [first]
    drive(optimizer, [first], 1)
    group["params"] = [second]
    with pytest.raises(RunError, match="appear for the first time after 1 of 4 stages") as caught:
        drive(optimizer, [second], 1)
    assert "sub_group_size" in str(caught.value)


@pytest.mark.parametrize("method, hyperparameters", ALL)
def test_the_dummy_step_of_an_engine_leaves_no_trace(method, hyperparameters):
    """What `FP16_UnfusedOptimizer` does at construction: fp32 copies, zero gradients, one step()."""
    settings = {"weight_decay": 0.1, **hyperparameters}
    calls = 3 * stages_of(method, hyperparameters)
    plain, master = parameter(), parameter()
    drive(build(method, [plain], **settings), [plain], calls)
    optimizer = build(method, [parameter()], **settings)
    with undisturbed(optimizer):
        optimizer.param_groups[0]["params"] = [master]
        drive(optimizer, [master], 1, torch.zeros_like)
    np.testing.assert_array_equal(master.detach().numpy(), START)
    assert optimizer.param_groups[0]["lr"] == 0.1
    drive(optimizer, [master], calls)
    assert torch.equal(plain, master)


def test_a_dummy_step_without_that_care_is_wrong():
    """Or the test above would pass with `undisturbed` doing nothing."""
    plain, disturbed = parameter(), parameter()
    drive(build("rk4", [plain], weight_decay=0.1), [plain], 12)
    optimizer = build("rk4", [disturbed], weight_decay=0.1)
    drive(optimizer, [disturbed], 1, torch.zeros_like)
    drive(optimizer, [disturbed], 12)
    assert (plain - disturbed).abs().max() > 1e-3


def test_an_engine_that_takes_no_step_keeps_the_state():
    theta = parameter()
    optimizer = build("adamw", [theta])
    drive(optimizer, [theta], 2)
    with undisturbed(optimizer):
        pass
    assert optimizer.state[theta]["step"].item() == 2


def test_reset_takes_an_unfinished_step_back():
    theta = parameter()
    optimizer = build("rk4", [theta], weight_decay=0.1)
    drive(optimizer, [theta], 3)
    optimizer.reset()
    np.testing.assert_array_equal(theta.detach().numpy(), START)
    assert optimizer.stage == 0 and not optimizer.state and optimizer.last_update_norm is None


# Registry


@pytest.mark.parametrize(
    "method, settings, words",
    [
        ("rk5", {}, ["unknown optimizer 'rk5'", "did you mean 'rk"]),
        ("adamv", {}, ["unknown optimizer 'adamv'", "did you mean 'Adam'"]),
        ("RMSprob", {}, ["unknown optimizer 'RMSprob'", "did you mean 'RMSprop'"]),
        ("torch.optim.Adamm", {}, ["unknown optimizer", "did you mean 'Adam'"]),
        ("mine:", {}, ["'mine:' is not a class", "package.module:Class"]),
        ("LBFGS", {"learning_rate": 1.0}, ["LBFGS cannot be used", "closure"]),
        ("rk4", {}, ["'learning_rate' is missing", "give a number > 0"]),
        ("rk4", {"learning_rate": None}, ["'learning_rate' is missing"]),
        ("rk4", {"learning_rate": -1e-3}, ["'learning_rate' is -0.001, not a number > 0"]),
        ("rk4", {"learning_rate": 0}, ["'learning_rate' is 0, not"]),
        ("rk4", {"learning_rate": math.nan}, ["'learning_rate' is nan"]),
        ("rk4", {"learning_rate": True}, ["'learning_rate' is True, not a number"]),
        ("rk4", {"learning_rate": "1e-4"}, ["'learning_rate' is the text '1e-4'", "write 1.0e-4"]),
        ("rk4", {"lr": 1e-3}, ["no hyperparameter 'lr'", "did you mean 'learning_rate'"]),
        ("rk4", {"learning_rate": 1, "weight_decy": 0}, ["'weight_decy'", "did you mean 'weight_decay'"]),
        ("rk4", {"learning_rate": 1, "momentum": 0.9}, ["no hyperparameter 'momentum'", "it has learning_rate"]),
        ("rk4", {"learning_rate": 1, "max_norm": 1}, ["'max_norm'", "'max_grad_norm', a key of 'training'"]),
        ("rkc", {"learning_rate": 1, "stages": 17}, ["'stages' is 17, not a whole number ≥ 2 and ≤ 16"]),
        ("rkc", {"learning_rate": 1, "stages": 4.5}, ["'stages' is 4.5, not a whole number"]),
        ("rkc", {"learning_rate": 1, "order": 3}, ["'order' is 3, not one of 1, 2"]),
        ("rkc", {"learning_rate": 1, "damping": -1}, ["'damping' is -1"]),
        ("adamw", {"learning_rate": 1, "betas": [0.9, 1.0]}, ["'betas' is 1.0", "two numbers ≥ 0 and < 1"]),
        ("adamw", {"learning_rate": 1, "betas": 0.9}, ["'betas' is 0.9, not two numbers"]),
        ("adamw", {"learning_rate": 1, "eps": 1e-6}, ["'eps'", "did you mean 'epsilon'"]),
        ("adamw", {"learning_rate": 1, "epsilon": 0}, ["'epsilon' is 0, not a number > 0"]),
        ("sgd", {"learning_rate": 1, "nesterov": 1}, ["'nesterov' is 1, not true or false"]),
        ("sgd", {"learning_rate": 1, "nesterov": True}, ["'nesterov' needs momentum"]),
        ("rmsprop", {"learning_rate": 1, "alhpa": 0.9}, ["'alhpa'", "did you mean 'alpha'"]),
        ("RMSprop", {"learning_rate": 1, "maximize": True}, ["no hyperparameter 'maximize'"]),
        ("torch.optim.RMSprop", {"alpha": 0.9}, ["'learning_rate' is missing"]),
    ],
)
def test_bad_settings_are_refused_by_name(method, settings, words):
    with pytest.raises(ConfigurationError) as caught:
        optimizers.validate(method, settings, "optimizers.mine")
    message = str(caught.value)
    assert "config key 'optimizers.mine." in message
    for word in words:
        assert word in message


def test_defaults_are_filled_in_and_types_settled():
    assert optimizers.validate("adamw", {"learning_rate": 1, "betas": [0.8, 0.9]}) == {
        "learning_rate": 1.0,
        "weight_decay": 0.0,
        "betas": (0.8, 0.9),
        "epsilon": 1e-8,
    }
    rkc = optimizers.validate("rkc", {"learning_rate": 1e-3, "stages": 6.0})
    assert rkc["stages"] == 6 and isinstance(rkc["stages"], int)
    assert optimizers.stages("rkc", rkc) == 6
    assert optimizers.validate("rkc", rkc) == rkc


def test_defaults_agree_with_torchs():
    for method, oracle in (("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        ours = build(method, [parameter()]).param_groups[0]
        theirs = oracle([parameter()], lr=0.1, weight_decay=0.0).param_groups[0]
        assert {k: v for k, v in ours.items() if k != "params"} == {k: v for k, v in theirs.items() if k != "params"}


@pytest.mark.parametrize("name", ["RMSprop", "rmsprop", "torch.optim.RMSprop", "torch.optim.rmsprop"])
def test_classes_of_torch_by_name(name):
    optimizer = build(name, [parameter()], alpha=0.5, eps=1e-3)
    assert type(optimizer) is torch.optim.RMSprop
    assert (optimizer.defaults["lr"], optimizer.defaults["alpha"], optimizer.defaults["eps"]) == (0.1, 0.5, 1e-3)
    with pytest.raises(ConfigurationError, match="refuses its hyperparameters: Invalid alpha"):
        build(name, [parameter()], alpha=-1.0)


def test_every_class_of_torch_can_be_built_or_is_refused_with_a_reason():
    names = [n for n, c in vars(torch.optim).items() if isinstance(c, type) and n != "Optimizer"]
    assert len(names) >= 14
    for name in names:
        if name in ("LBFGS", "SparseAdam"):
            with pytest.raises(ConfigurationError, match="cannot be used: it "):
                optimizers.specification(f"torch.optim.{name}")
        else:
            optimizer = build(f"torch.optim.{name}", [nn.Parameter(torch.ones(2, 2))])
            assert type(optimizer).__name__ == name
            assert optimizers.specification(f"torch.optim.{name}").elementwise == (name not in ("Adafactor", "Muon"))


def test_a_class_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_optimizers.py").write_text(
        "import torch\n"
        "class Plain(torch.optim.SGD):\n"
        "    def __init__(self, params, lr, strength=1.0):\n"
        "        super().__init__(params, lr * strength)\n"
        "class Staged(Plain):\n"
        "    stages = 2\n"
        "class Other: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    optimizer = build("my_optimizers:Plain", [parameter()], strength=3.0)
    assert type(optimizer).__name__ == "Plain" and optimizer.defaults["lr"] == pytest.approx(0.3)
    for name, settings, message in (
        ("my_optimizers:Plain", {"strenght": 1.0}, "did you mean 'strength'"),
        ("my_optimizers:Staged", {}, "takes 2 gradients a step; a class from outside is counted with one"),
        ("my_optimizers:Other", {}, "is no torch.optim.Optimizer"),
        ("my_optimizers:Missing", {}, "cannot be imported"),
        ("no_such_package.at_all:Class", {}, "cannot be imported"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            build(name, [parameter()], **settings)
        assert message in str(caught.value)
    sys.modules.pop("my_optimizers")
