"""The temperature is that of a search by hand, and is not given where the data decide none."""

import numpy as np
import pytest
from scipy import special

from dnatune.prediction import calibration


def drawn(temperature, items=4000, classes=3, seed=0):
    """Log-probabilities, and labels drawn as if they were to be divided by a temperature."""
    dice = np.random.default_rng(seed)
    # Probabilities of labels need not sum to one.
    logs = dice.normal(scale=2.0, size=(items, classes)) - 3
    shares = special.softmax(logs / temperature, axis=1)
    return logs, np.array([dice.choice(classes, p=row) for row in shares])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_it_finds_the_temperature_behind_the_labels(temperature):
    logs, labels = drawn(temperature)
    found = calibration.fit(logs, labels)
    grid = np.exp(np.linspace(np.log(temperature / 1.5), np.log(temperature * 1.5), 801))
    losses = [-special.log_softmax(logs / one, axis=1)[np.arange(len(labels)), labels].mean() for one in grid]
    # The grid's step is 0.1 %.
    assert found.temperature == pytest.approx(grid[np.argmin(losses)], rel=2e-3)
    assert found.nats_after <= min(losses) + 1e-9 and found.nats_before >= found.nats_after
    # Its standard error with 4,000 items is about 3 %.
    assert found.temperature == pytest.approx(temperature, rel=0.1)
    assert found.divisor == found.temperature


def test_without_enough_data_there_is_none():
    logs, labels = drawn(2.0)
    few = calibration.fit(logs[:29], labels[:29])
    assert few.temperature is None and "29 items" in few.reason and few.divisor == 1 and few.nats_before > 0
    never_wrong = calibration.fit(logs, logs.argmax(axis=1))
    assert never_wrong.temperature is None and "nearer" in never_wrong.reason
    always_wrong = calibration.fit(logs, logs.argmin(axis=1))
    assert always_wrong.temperature is None and "alike" in always_wrong.reason
    assert calibration.fit(np.empty((0, 2)), []).reason
