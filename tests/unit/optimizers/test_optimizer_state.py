"""Stages, state and memory of the optimizers, and their clipping."""

import concurrent.futures
import io
import math
import threading

import numpy as np
import pytest
import torch
from torch import nn

from dnatune import optimizers
from dnatune.optimizers import EULER, RK4, TABLEAUX
from dnatune.optimizers.runge_kutta import RungeKutta
from optimizer_flow import ALL, SIZE, STAGED, START, build, drive, parameter, reference_runge_kutta, slope, stages_of

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
    """DeepSpeed keeps views of the state tensors, so new tensors would take the memory twice."""
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
    # The norm adds its terms in another order, so only its last bit may differ.
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
        # The saved numbers must replace those given at construction.
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


def clipped(gradient, bound):
    """Return a gradient function whose values are at most `bound` long."""

    def limited(point):
        found = gradient(point)
        return found * min(1.0, bound / (float(found.norm()) + 1e-6))

    return limited


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("method, hyperparameters", ALL)
def test_clipped_stages_follow_the_clipped_field(method, hyperparameters, weight_decay):
    """Weight decay stays outside; a method with one gradient per step is clipped by the engine, as ever."""
    settings = {"weight_decay": weight_decay, **hyperparameters}
    ours, theirs = parameter(), parameter()
    calls = 3 * stages_of(method, hyperparameters)
    optimizer = build(method, [ours], 0.3, clip="stages", **settings)
    engines = optimizers.engine_clipping(method, 0.3)
    drive(optimizer, [ours], calls, clipped(slope, engines) if engines else slope)
    drive(build(method, [theirs], **settings), [theirs], calls, clipped(slope, 0.3))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=0, atol=1e-13)
    free = parameter()
    drive(build(method, [free], **settings), [free], calls)
    assert (free - ours).abs().max() > 1e-3 or method in {"adamw", "lion", "rk4_adam"}  # which scale their gradients
    if not engines:
        assert slope(ours.detach()).norm() < optimizer.last_update_norm < slope(torch.from_numpy(START)).norm() + 1


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_euler_on_the_clipped_field_is_clipped_sgd(weight_decay):
    ours, theirs = parameter(), parameter()
    optimizer = RungeKutta([ours], 0.1, EULER, weight_decay=weight_decay, max_norm=0.3)
    optimizer.clips_stages = True
    oracle = torch.optim.SGD([theirs], lr=0.1, weight_decay=weight_decay)
    for _ in range(20):
        drive(optimizer, [ours], 1)
        theirs.grad = slope(theirs.detach())
        norm = nn.utils.clip_grad_norm_([theirs], 0.3)
        oracle.step()
        assert optimizer.last_update_norm == pytest.approx(norm.item(), rel=1e-14)
    # Rounding of 20 steps in float64.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_a_stage_that_runs_away_is_held_by_clipped_stages():
    """Far from the minimum of θ⁴ the second stage lands where the gradient overflows, unless it is bounded."""
    norms = {}
    for clip in ("step", "stages"):
        theta = parameter()
        optimizer = build("rk4", [theta], 1.0, clip=clip, learning_rate=10.0)
        drive(optimizer, [theta], 4)
        norms[clip] = optimizer.last_update_norm
    assert norms["step"] > 1e20
    assert norms["stages"] < 1e6


@pytest.mark.parametrize("stage", range(4))
def test_a_step_cut_between_clipped_stages_continues_as_it_was(stage):
    whole, cut, resumed = parameter(), parameter(), parameter()
    reference = build("rk4", [whole], 0.3, clip="stages")
    drive(reference, [whole], 4)
    first = build("rk4", [cut], 0.3, clip="stages")
    drive(first, [cut], stage)
    resumed.data.copy_(cut.data)
    second = build("rk4", [resumed], 0.3, clip="stages")
    second.load_state_dict(first.state_dict())
    drive(second, [resumed], 4 - stage)
    assert torch.equal(resumed, whole)
    assert second.last_update_norm == reference.last_update_norm


def test_a_wide_bound_clips_nothing():
    thetas = [parameter(), parameter(), parameter()]
    for theta, bound in zip(thetas, (0.0, 1e6, None), strict=True):
        drive(RungeKutta([theta], 0.1, RK4, max_norm=bound), [theta], 8)
    assert torch.equal(thetas[0], thetas[1]) and torch.equal(thetas[0], thetas[2])
    stages = parameter()
    drive(build("rk4", [stages], 1e6, clip="stages"), [stages], 8)
    assert torch.equal(thetas[0], stages)


@pytest.mark.parametrize("clip", ["step", "stages"])
@pytest.mark.parametrize("method, hyperparameters", STAGED)
def test_shards_with_a_reduced_norm_step_like_the_whole(method, hyperparameters, clip):
    """Two threads stand for two ranks with ZeRO, and a list with a barrier stands for the all-reduce."""
    stages, steps = stages_of(method, hyperparameters), 2
    whole = parameter()
    reference = build(method, [whole], 0.25, clip, **hyperparameters)
    drive(reference, [whole], steps * stages)

    shards = [parameter(START[:4]), parameter(START[4:])]
    ranks = [build(method, [shard], 0.25, clip, **hyperparameters) for shard in shards]
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
    assert len(squares) == 2 * steps * (stages if clip == "stages" else 1)
    joined = torch.cat([shard.detach() for shard in shards])
    torch.testing.assert_close(joined, whole.detach(), rtol=0, atol=1e-14)
    for rank in ranks:
        assert rank.last_update_norm == pytest.approx(reference.last_update_norm, rel=1e-13)
