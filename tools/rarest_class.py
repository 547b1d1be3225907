#!/usr/bin/env python
"""Count by simulation how many verdicts are false if few test items are of class 1, and print a Markdown table.

A method with ten seeds is compared with one fixed classifier of the same quality, as in the scenario `control` of
`verdict_calibration`, on n items of class 1 and 19 n of class 0. Each share stands twice: with the number of all items
less one as degrees of freedom, and with that of class 1, which `dnatune.inference` uses.

By hand:  PYTHONPATH=workflow python tools/rarest_class.py --replications 2000
"""

import argparse
import itertools

import numpy as np

import verdict_calibration
from dnatune import inference
from dnatune.errors import ConfigurationError, run_script

NUMBERS, METRICS, SEEDS, LEVEL = (6, 10, 15, 20, 30), ("mcc", "f1_macro", "auroc"), 10, 0.95
#: Half the distance of the classes and the bias: MCC is about .3 and about .85.
TASKS = {"hard": (0.7, -1.0), "easy": (1.8, -0.6)}


def shares(task: str, number: int, replications: int, seed: int) -> dict[str, np.ndarray]:
    """Return, by metric, the shares of false verdicts with either degrees of freedom [2].

    Args:
        task: of `TASKS`.
        number: of items of class 1.
        replications: simulated comparisons.
        seed: of the random numbers; each task and number has its own stream.
    """
    generator = np.random.default_rng([seed, list(TASKS).index(task), number])
    truth = (np.arange(20 * number) < number).astype(np.int64)
    separation, bias = TASKS[task]
    found = {metric: np.zeros(2) for metric in METRICS}
    for _ in range(replications):
        common, own, of_seed, alone = verdict_calibration.noise_parts(
            2, SEEDS + 1, np.arange(len(truth)), 0.0, generator
        )
        ratios = bias + separation * (2 * truth - 1) + common + own + of_seed + alone
        runs = np.concatenate([ratios[0, :SEEDS], ratios[1, SEEDS:]])
        for metric, count in found.items():
            count += _rejections(runs, truth, metric)
    return {metric: count / replications for metric, count in found.items()}


def _rejections(runs: np.ndarray, truth: np.ndarray, metric: str) -> np.ndarray:
    """Return whether the interval excludes 0 with either degrees of freedom [2]; the last run is the control."""
    measured = inference.measure(runs if metric == "auroc" else (runs > 0).astype(np.int64), truth, metric)
    difference = inference.subtract(measured.of(range(SEEDS)), measured.of([SEEDS] * SEEDS))
    pair = inference.infer(difference, None, LEVEL)
    if pair.seed_variance is None:
        return np.zeros(2)
    halves = (
        inference.half_width(pair.seed_variance, pair.item_variance, SEEDS, number, 1 - LEVEL)
        for number in (pair.items, pair.limiting)
    )
    return np.array([abs(pair.interval.estimate) > half for half in halves], float)


def main() -> None:
    """Parse the command line, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=2_000, help="simulated comparisons per row")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: 0)")
    options = parser.parse_args()
    if options.replications < 1 or options.seed < 0:
        raise ConfigurationError(
            f"{options.replications} replications with seed {options.seed}",
            where="command line",
            fix="give at least one replication and a seed of 0 or above",
        )
    head = ["task", "items of class 1", *(inference.METRIC_NAMES[metric] for metric in METRICS)]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for task, number in itertools.product(TASKS, NUMBERS):
        found = shares(task, number, options.replications, options.seed)
        cells = [" → ".join(f"{share:.3f}" for share in found[metric]) for metric in METRICS]
        print(f"| {' | '.join([task, str(number), *cells])} |", flush=True)


if __name__ == "__main__":
    run_script(main)
