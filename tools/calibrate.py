#!/usr/bin/env python
"""Print how often the intervals of a comparison hold the truth, by simulation, as Markdown tables.

By hand:  PYTHONPATH=workflow python tools/calibrate.py --replications 2000
"""

import argparse

import numpy as np

import interval_calibration
from dnatune import inference
from dnatune.errors import ConfigurationError, run_script


def main() -> None:
    """Parse the command line, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=2_000, help="simulated comparisons a cell (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    options = parser.parse_args()
    if options.replications < 1 or options.seed < 0:
        raise ConfigurationError(
            f"{options.replications} replications with seed {options.seed}",
            where="command line, --replications and --seed",
            fix="give at least one replication, and a seed of 0 or above",
        )
    parts = {
        "mcc": interval_calibration.grid("mcc"),
        "auroc": interval_calibration.grid("auroc"),
        "outside the model": interval_calibration.stress(),
    }
    for stream, (name, cells) in enumerate(parts.items()):
        # A cell has its own stream, so that its numbers do not depend on the cells before it.
        outcomes = [
            interval_calibration.run_cell(
                cell, options.replications, np.random.default_rng([options.seed, stream, number])
            )
            for number, cell in enumerate(cells)
        ]
        tables = [interval_calibration.summary(outcomes), interval_calibration.table(outcomes)]
        if name in inference.DIFFERENCE_METRICS:
            tables.insert(1, interval_calibration.overview(outcomes))
        print(f"\n## {name}\n\n" + "\n\n".join(tables), flush=True)


if __name__ == "__main__":
    run_script(main)
