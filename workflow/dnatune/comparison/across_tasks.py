"""Optimizers over several tasks: interquartile mean, mean rank and performance profiles.

The definitions are those of Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice
(arXiv 2108.13264), with seeds as runs. Scores need no normalisation: MCC and macro F1 are on one scale for every task.
A run that diverged has no score. Means are of the completed runs; a profile counts it as below every score.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

#: Fewest seeds of a task from which an interval is given.
FEWEST_SEEDS = 3
_REPLICATIONS = 2000

#: Scores of a method's runs, by task; None is a run that diverged.
Scores = Sequence[Sequence[float | None]]


@dataclasses.dataclass(frozen=True)
class Standing:
    """What one method reached over all tasks.

    Attributes:
        name: of the method.
        iqm: interquartile mean over all completed runs of all tasks: the mean of the middle half.
        low, high: stratified percentile bootstrap interval of `iqm` over seeds; None where a task has too few.
        mean_rank: of the mean scores of completed runs, over tasks; 1 is best, ties share.
        runs: of all tasks, with those that diverged.
        diverged: how many of them diverged.
        short: places of the tasks that have too few completed runs for an interval.
    """

    name: str
    iqm: float
    low: float | None
    high: float | None
    mean_rank: float
    runs: int
    diverged: int
    short: tuple[int, ...]


def interquartile_mean(scores: Sequence[Sequence[float]]) -> float:
    """Return the mean of the middle half of all runs of all tasks.

    Args:
        scores: scores of the runs, by task.
    """
    return float(stats.trim_mean(np.concatenate([np.asarray(task, float) for task in scores]), 0.25))


def standings(scores: Mapping[str, Scores], level: float) -> list[Standing]:
    """Return the standing of each method, highest interquartile mean first.

    Args:
        scores: method → scores of its runs, by task; every method has the same tasks, and completed a run of each.
        level: of the intervals.
    """
    completed = {name: [[run for run in task if run is not None] for task in tasks] for name, tasks in scores.items()}
    means = np.array([[np.mean(task) for task in tasks] for tasks in completed.values()])
    ranks = stats.rankdata(-means, axis=0).mean(axis=1)
    found = []
    for (name, tasks), rank in zip(completed.items(), ranks, strict=True):
        short = tuple(place for place, task in enumerate(tasks) if len(task) < FEWEST_SEEDS)
        low, high = (None, None) if short else _interval(tasks, level)
        runs = sum(map(len, scores[name]))
        lost = runs - sum(map(len, tasks))
        found.append(Standing(name, interquartile_mean(tasks), low, high, float(rank), runs, lost, short))
    return sorted(found, key=lambda standing: -standing.iqm)


def _interval(tasks: Sequence[Sequence[float]], level: float) -> tuple[float, float]:
    """Resample the runs of each task by themselves (stratified), as rliable does."""
    rng = np.random.default_rng(0)
    drawn = [np.asarray(task, float)[rng.integers(len(task), size=(_REPLICATIONS, len(task)))] for task in tasks]
    resampled = stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def profiles(scores: Mapping[str, Scores], points: int = 101) -> pd.DataFrame:
    """Return the share of runs above each score τ, the mean over tasks: columns optimizer, score and share.

    Args:
        scores: as `standings` takes them.
        points: number of values of τ, evenly from the lowest to the highest score.
    """
    reached = {
        name: [np.array([-np.inf if run is None else run for run in task]) for task in tasks]
        for name, tasks in scores.items()
    }
    everything = np.array([run for tasks in scores.values() for task in tasks for run in task if run is not None])
    thresholds = np.linspace(min(0.0, everything.min()), everything.max(), points)
    return pd.concat(
        pd.DataFrame(
            {
                "optimizer": name,
                "score": thresholds,
                "share": np.mean([np.mean(task > thresholds[:, None], axis=1) for task in tasks], axis=0),
            }
        )
        for name, tasks in reached.items()
    ).reset_index(drop=True)
