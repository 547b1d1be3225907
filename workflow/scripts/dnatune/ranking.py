"""Optimizers over several tasks: interquartile mean, mean rank and performance profiles.

The definitions are those of Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice
(arXiv 2108.13264), with seeds as runs. Scores need no normalisation: MCC and macro F1 are on one scale for every task.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

#: Fewest seeds of a task from which an interval is given.
FEWEST_SEEDS = 3
_REPLICATIONS = 2000


@dataclasses.dataclass(frozen=True)
class Standing:
    """What one method reached over all tasks.

    Attributes:
        name: of the method.
        iqm: interquartile mean over all runs of all tasks: the mean of the middle half.
        low, high: stratified percentile bootstrap interval of `iqm` over seeds; None where a task has too few.
        mean_rank: of the mean scores, over tasks; 1 is best, ties share.
    """

    name: str
    iqm: float
    low: float | None
    high: float | None
    mean_rank: float


def interquartile_mean(scores: Sequence[Sequence[float]]) -> float:
    """Return the mean of the middle half of all runs of all tasks.

    Args:
        scores: scores of the runs, by task.
    """
    return float(stats.trim_mean(np.concatenate([np.asarray(task, float) for task in scores]), 0.25))


def standings(scores: Mapping[str, Sequence[Sequence[float]]], level: float) -> list[Standing]:
    """Return the standing of each method, highest interquartile mean first.

    Args:
        scores: method → scores of its runs, by task; every method has the same tasks, and no task is empty.
        level: of the intervals.
    """
    means = np.array([[np.mean(task) for task in tasks] for tasks in scores.values()])
    ranks = stats.rankdata(-means, axis=0).mean(axis=1)
    found = [
        Standing(name, interquartile_mean(tasks), *_interval(tasks, level), float(rank))
        for (name, tasks), rank in zip(scores.items(), ranks, strict=True)
    ]
    return sorted(found, key=lambda standing: -standing.iqm)


def _interval(tasks: Sequence[Sequence[float]], level: float) -> tuple[float | None, float | None]:
    """Resample the runs of each task by themselves (stratified), as rliable does."""
    if min(map(len, tasks)) < FEWEST_SEEDS:
        return None, None
    rng = np.random.default_rng(0)
    drawn = [np.asarray(task, float)[rng.integers(len(task), size=(_REPLICATIONS, len(task)))] for task in tasks]
    resampled = stats.trim_mean(np.concatenate(drawn, axis=1), 0.25, axis=1)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def profiles(scores: Mapping[str, Sequence[Sequence[float]]], points: int = 101) -> pd.DataFrame:
    """Return the share of runs above each score τ, the mean over tasks: columns optimizer, score and share.

    Args:
        scores: as `standings` takes them.
        points: number of values of τ, evenly from the lowest to the highest score.
    """
    everything = np.concatenate([np.asarray(task, float) for tasks in scores.values() for task in tasks])
    thresholds = np.linspace(min(0.0, everything.min()), everything.max(), points)
    return pd.concat(
        pd.DataFrame(
            {
                "optimizer": name,
                "score": thresholds,
                "share": np.mean([np.mean(np.asarray(task, float) > thresholds[:, None], axis=1) for task in tasks], 0),
            }
        )
        for name, tasks in scores.items()
    ).reset_index(drop=True)
