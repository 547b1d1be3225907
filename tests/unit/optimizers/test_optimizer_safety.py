"""Optimizers never fail silently, driven alone or as DeepSpeed drives them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from dnatune.errors import ConfigurationError, RunError
from dnatune.optimizers.runge_kutta import ChebyshevRungeKutta, RungeKutta, RungeKuttaAdam, SingleGradientRK4
from dnatune.training.engine import without_dummy_step
from optimizer_flow import ALL, STAGED, START, build, drive, parameter, slope, stages_of

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
    with pytest.raises(ConfigurationError, match="several parameter groups"):
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
    with pytest.raises(RunError, match=r"0\.1 to 0\.2 after 2 of 4 stages"):
        drive(optimizer, [theta], 1)


def test_closures_are_refused():
    for optimizer in (RungeKutta([parameter()], 0.1), SingleGradientRK4([parameter()], 0.1)):
        with pytest.raises(RunError, match="takes no closure"):
            optimizer.step(lambda: 0.0)


# As DeepSpeed drives an optimizer


def test_parameters_may_be_replaced_and_taken_away_between_calls():
    """ZeRO replaces the parameters by flat fp32 shards; stage 3 does so for each call."""
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
    """ZeRO 3 calls step() once per sub-group of its parameters, and each call would count as a stage."""
    first, second = parameter(), parameter()
    optimizer = build("rk4", [first, second])
    (group,) = optimizer.param_groups
    group["params"] = [first]
    drive(optimizer, [first], 1)
    group["params"] = [second]
    with pytest.raises(RunError, match="1 of 4 stages") as caught:
        drive(optimizer, [second], 1)
    assert "sub_group_size" in str(caught.value)


@pytest.mark.parametrize("method, hyperparameters", ALL)
def test_the_dummy_step_of_an_engine_leaves_no_trace(method, hyperparameters):
    """Do what `FP16_UnfusedOptimizer` does at construction: fp32 copies, zero gradients, one step()."""
    settings = {"weight_decay": 0.1, **hyperparameters}
    calls = 3 * stages_of(method, hyperparameters)
    plain, master = parameter(), parameter()
    drive(build(method, [plain], **settings), [plain], calls)
    optimizer = build(method, [parameter()], **settings)
    with without_dummy_step(optimizer):
        optimizer.param_groups[0]["params"] = [master]
        drive(optimizer, [master], 1, torch.zeros_like)
    np.testing.assert_array_equal(master.detach().numpy(), START)
    assert optimizer.param_groups[0]["lr"] == 0.1
    drive(optimizer, [master], calls)
    assert torch.equal(plain, master)


def test_a_dummy_step_without_that_care_is_wrong():
    """Otherwise the test above would pass even if `without_dummy_step` did nothing."""
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
    with without_dummy_step(optimizer):
        pass
    assert optimizer.state[theta]["step"].item() == 2


def test_reset_takes_an_unfinished_step_back():
    theta = parameter()
    optimizer = build("rk4", [theta], weight_decay=0.1)
    drive(optimizer, [theta], 3)
    optimizer.reset()
    np.testing.assert_array_equal(theta.detach().numpy(), START)
    assert optimizer.stage == 0 and not optimizer.state and optimizer.last_update_norm is None
