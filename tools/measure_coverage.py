#!/usr/bin/env python
"""Measure by simulation how often the intervals of a comparison cover the truth, and print Markdown tables.

By hand:  PYTHONPATH=workflow python tools/measure_coverage.py --replications 2000
"""

import argparse

import numpy as np

import interval_coverage
from dnatune import inference
from dnatune.errors import ConfigurationError, run_script


def main() -> None:
    """Parse the command line, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--replications", type=int, default=2_000, help="simulated comparisons per cell (default: 2000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: 0)")
    options = parser.parse_args()
    if options.replications < 1 or options.seed < 0:
        raise ConfigurationError(
            f"{options.replications} replications with seed {options.seed}",
            where="command line, --replications and --seed",
            fix="give at least one replication, and a seed of 0 or above",
        )
    parts = {
        "mcc": interval_coverage.grid("mcc"),
        "auroc": interval_coverage.grid("auroc"),
        "outside the model": interval_coverage.stress(),
    }
    for stream, (name, cells) in enumerate(parts.items()):
        # Each cell has its own random stream, so that its numbers do not depend on other cells.
        outcomes = [
            interval_coverage.run_cell(
                cell, options.replications, np.random.default_rng([options.seed, stream, number])
            )
            for number, cell in enumerate(cells)
        ]
        tables = [interval_coverage.summary(outcomes), interval_coverage.table(outcomes)]
        if name in inference.DIFFERENCE_METRICS:
            tables.insert(1, interval_coverage.overview(outcomes))
        print(f"\n## {name}\n\n" + "\n\n".join(tables), flush=True)


if __name__ == "__main__":
    run_script(main)
