"""Steps, batches and learning rates are the same for every optimizer and every number of ranks."""

import math

import pytest

from configurations import changed
from dnatune.errors import ConfigurationError
from dnatune.settings import experiment
from dnatune.settings.training import Budget, few_steps
from dnatune.training.plan import BatchOrder, SaveSchedule, learning_rates, plan


@pytest.mark.parametrize(
    ("budget", "stages", "steps"),
    [
        ({"epochs": 1}, 1, 4),
        ({"epochs": 2.5}, 4, 10),
        ({"steps": 7}, 4, 7),
        ({"gradient_evaluations": 11}, 4, 2),
        ({"gradient_evaluations": 11}, 1, 11),
    ],
)
def test_budgets(budget, stages, steps):
    made = plan(Budget(**budget), examples=50, batch=16, stages=stages)
    assert (made.steps, made.steps_per_epoch, made.stages) == (steps, 4, stages)


def test_a_handful_of_steps_is_warned_of_once_their_number_is_known():
    """420 examples in batches of 128 for one epoch are four steps, after which MCC was 0 at AUROC .948."""
    made = plan(Budget(epochs=1), examples=420, batch=128, stages=1)
    assert "4 steps" in few_steps(made.steps)
    assert (few_steps(19) is None, few_steps(20) is None) == (False, True)
    # Before the data are there, epochs say nothing.
    assert Budget(epochs=1).steps_of(stages=1) is None
    found = experiment.resolve(changed("budget", {"gradient_evaluations": 76})).cautions()
    assert [text.split(":")[0] for text in found] == ["optimizer 'rk4'"]
    assert "19 steps" in found[0]
    assert experiment.resolve(changed("budget", {"epochs": 0.01})).cautions() == []


def test_a_budget_below_one_step_is_refused():
    with pytest.raises(ConfigurationError, match=r"^3 gradient evaluations") as caught:
        plan(Budget(gradient_evaluations=3), 50, 16, 4)
    assert "budget.gradient_evaluations" in caught.value.where and "4" in caught.value.fix


def test_every_epoch_sees_every_example_once():
    order = BatchOrder(50, 16, seed=3)
    epochs = [[i for step in range(4 * e, 4 * e + 4) for i in order.indices(step)] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0] != epochs[1]
    assert [len(order.indices(step)) for step in range(4)] == [16, 16, 16, 2]
    assert BatchOrder(50, 16, seed=4).indices(0) != order.indices(0)


def test_cosine_by_its_formula():
    steps, warmup, peak = 100, 3, 0.2
    rates = learning_rates("cosine", peak, 0.03, steps)
    for index, rate in enumerate(rates, start=1):
        progress = (index - warmup) / (steps + 1 - warmup)
        expected = index / warmup if index < warmup else 0.5 * (1 + math.cos(math.pi * progress))
        assert rate == pytest.approx(peak * expected, rel=1e-12)
    assert min(rates) > 0 and max(rates) == peak


@pytest.mark.parametrize("schedule", ["linear", "constant", "constant_with_warmup", "inverse_sqrt"])
def test_no_step_has_rate_zero(schedule):
    rates = learning_rates(schedule, 0.1, 0.1, 20)
    assert len(rates) == 20 and min(rates) > 0 and max(rates) <= 0.1


def test_checkpoints_follow_from_the_budget_and_the_clock(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    automatic, fixed = SaveSchedule("auto", 94), SaveSchedule(2000, 94)
    assert [step for step in range(1, 95) if automatic.due(step)] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert not any(fixed.due(step) for step in range(1, 95))
    assert [step for step in range(1, 4) if SaveSchedule("auto", 3).due(step)] == [1, 2, 3]
    now = 601.0
    assert (automatic.overdue, fixed.overdue) == (True, False)
    automatic.saved()
    assert not automatic.overdue
