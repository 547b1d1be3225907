"""Optimizers over several tasks, against the definitions of Agarwal et al. 2021 written out by hand."""

import numpy as np
import pytest

from dnatune.comparison import across_tasks

RNG = np.random.default_rng(3)
SCORES = {
    name: [list(RNG.normal(mean, 0.1, 5)) for _ in range(4)] for name, mean in (("a", 0.5), ("b", 0.6), ("c", 0.4))
}


@pytest.mark.parametrize("sizes", [(5, 5, 5, 5), (3, 4), (1, 1), (2, 3, 6)])
def test_the_interquartile_mean_drops_a_quarter_of_all_runs_at_each_end(sizes):
    tasks = [list(RNG.normal(size=size)) for size in sizes]
    ordered = sorted(value for task in tasks for value in task)
    cut = len(ordered) // 4
    assert across_tasks.interquartile_mean(tasks) == pytest.approx(np.mean(ordered[cut : len(ordered) - cut]))


def test_one_absurd_run_does_not_move_it():
    tasks = [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, -1e9]]
    assert across_tasks.interquartile_mean(tasks) == 0.5


def test_standings_are_ordered_and_ranks_are_means_over_tasks():
    found = across_tasks.standings(SCORES, 0.95)
    assert [standing.iqm for standing in found] == sorted((standing.iqm for standing in found), reverse=True)
    for standing in found:
        ranks = [
            1 + sum(np.mean(SCORES[other][task]) > np.mean(SCORES[standing.name][task]) for other in SCORES)
            for task in range(4)
        ]
        assert standing.mean_rank == pytest.approx(np.mean(ranks))
        assert standing.low < standing.iqm < standing.high


def test_equal_means_share_a_rank():
    first, second = across_tasks.standings({"a": [[0.5]], "b": [[0.5]]}, 0.95)
    assert first.mean_rank == second.mean_rank == 1.5


def test_the_interval_resamples_within_each_task():
    # Seeds of a task are equal and tasks differ: resampling within tasks moves nothing, across tasks it would.
    (found,) = across_tasks.standings({"a": [[0.1] * 3, [0.5] * 3, [0.9] * 3]}, 0.95)
    assert found.low == found.iqm == found.high == pytest.approx(0.5)


def test_the_interval_agrees_with_a_bootstrap_written_as_a_loop():
    rng, tasks = np.random.default_rng(1), SCORES["a"]
    drawn = [across_tasks.interquartile_mean([rng.choice(task, len(task)) for task in tasks]) for _ in range(4000)]
    (found,) = across_tasks.standings({"a": tasks}, 0.9)
    # The standard error of a 5 % quantile of 2,000 draws is about 0.05 of the bootstrap's standard deviation.
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.05, 0.95]), abs=0.25 * np.std(drawn))


def test_no_interval_below_three_seeds():
    (found,) = across_tasks.standings({"a": [[0.1, 0.2, 0.3], [0.4, 0.5]]}, 0.95)
    assert (found.low, found.high) == (None, None)
    assert found.short == (1,)


def test_a_diverged_run_is_counted_and_is_in_no_mean():
    lost, whole = [[0.1, 0.2, None, 0.3], [0.4, 0.5, 0.6]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    found, same = (across_tasks.standings({"a": tasks}, 0.95)[0] for tasks in (lost, whole))
    assert (found.runs, found.diverged, same.runs, same.diverged) == (7, 1, 6, 0)
    assert (found.iqm, found.low, found.high, found.mean_rank) == (same.iqm, same.low, same.high, same.mean_rank)
    # A seed that diverged does not make up the three that an interval needs.
    (short,) = across_tasks.standings({"a": [[0.1, 0.2, None]]}, 0.95)
    assert (short.low, short.short) == (None, (0,))


def test_a_profile_counts_a_diverged_run_as_below_every_score():
    table = across_tasks.profiles({"a": [[0.2, 0.4, None, None]], "b": [[-0.5, 0.8]]}, points=14)
    first = table[table["optimizer"] == "a"]
    assert first["score"].min() == -0.5
    assert first["share"].iloc[0] == 0.5
    # Nothing is drawn for it: thresholds end at scores that runs reached.
    assert np.isfinite(table["score"]).all()


def test_a_profile_is_the_share_of_runs_above_a_score_as_a_mean_over_tasks():
    scores = {"a": [[0.2, 0.4], [0.6, 0.8, 0.8]]}
    table = across_tasks.profiles(scores, points=9)
    assert table["score"].tolist() == pytest.approx(np.linspace(0, 0.8, 9))
    expected = [
        np.mean([np.mean([value > score for value in task]) for task in scores["a"]]) for score in table["score"]
    ]
    assert table["share"].tolist() == pytest.approx(expected)
    assert table["share"].iloc[0] == 1
    assert table["share"].iloc[-1] == 0
