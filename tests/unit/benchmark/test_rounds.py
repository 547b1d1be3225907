"""A recipe is timed on a part of the batch only if the first round, after a fair warm-up, shows that it may be."""

from types import SimpleNamespace

import pytest

from dnatune.benchmark import timing
from dnatune.benchmark.recipes import ALL_LOGITS, TrainingRecipe
from dnatune.benchmark.rounds import Contestant, StepTimes, time_rounds

BENCH = SimpleNamespace(
    batch=range(128), part=range(32), own=SimpleNamespace(repeats=3), neighbours=timing.Neighbours(patience=0)
)


def contestant(name, calls, cost_of_part=1.0, divisible=True):
    """A recipe whose step takes a second per example; in the first part of the batch, `cost_of_part` seconds."""

    def step(indices, part):
        calls.append((name, len(indices), part))
        return StepTimes(part * cost_of_part, float(len(indices)), 0.5)

    return Contestant(TrainingRecipe(name, 2, False, ALL_LOGITS), step, divisible)


def test_every_shape_of_the_first_round_is_warmed_up_and_recipes_take_turns():
    calls = []
    time_rounds(BENCH, [contestant("small", calls), contestant("whole", calls, divisible=False)])
    assert calls == [
        ("small", 32, 0),
        ("whole", 128, 0),
        ("small", 128, 32),
        ("whole", 128, 32),
        *[("small", 32, 0), ("whole", 128, 0)] * 2,
    ]


@pytest.mark.parametrize(
    ("cost", "divisible", "examples", "constancy"),
    [
        (1.0, True, 32, 1.0),
        (1.09, True, 32, 1.09),
        (1.47, True, 128, 1.47),
        (0.8, True, 128, 0.8),
        (1.0, False, 128, None),
    ],
)
def test_a_part_stands_for_the_batch_if_an_example_costs_the_same_in_both(cost, divisible, examples, constancy):
    (found,) = time_rounds(BENCH, [contestant("recipe", [], cost, divisible)])
    assert found.examples == examples
    assert found.constancy == (None if constancy is None else pytest.approx(constancy))
    # Whatever the later rounds were timed on, they count for the whole batch.
    assert [times.gradient for times in found.of_batch(128)] == [128.0] * 3
    assert [times.optimizer for times in found.of_batch(128)] == [0.5] * 3


def test_rows_of_several_lengths_are_timed_after_the_rounds():
    calls = []
    plain = contestant("recipe", calls)
    rows = Contestant(plain.recipe, plain.step, True, lambda: [{"examples": len(calls)}])
    (found,) = time_rounds(BENCH, [rows])
    assert found.row_lengths == [{"examples": 4}]
