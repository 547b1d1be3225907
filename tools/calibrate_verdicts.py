#!/usr/bin/env python
"""Count by simulation how many verdicts are false where it is hard, and print Markdown tables.

By hand:  PYTHONPATH=workflow python tools/calibrate_verdicts.py --replications 1000 --processes 2
"""

import argparse
import itertools
import multiprocessing

import verdict_calibration
from dnatune.errors import ConfigurationError, run_script


def main() -> None:
    """Parse the command line, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1_000, help="simulated comparisons per cell")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random numbers (default: 0)")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the work (default: 1)")
    options = parser.parse_args()
    if options.replications < 1 or options.seed < 0 or options.processes < 1:
        raise ConfigurationError(
            f"{options.replications} replications with seed {options.seed} in {options.processes} processes",
            where="command line",
            fix="give at least one replication and one process, and a seed of 0 or above",
        )
    settings = list(
        itertools.product(verdict_calibration.SCENARIOS, verdict_calibration.PREVALENCES, verdict_calibration.ITEMS)
    )
    work = [(*setting, options.replications, options.seed) for setting in settings]
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        found = pool.starmap(verdict_calibration.run, work, chunksize=1)
    counts = [count for part in found for count in part]
    print(verdict_calibration.summary(counts) + "\n\n" + verdict_calibration.table(counts))


if __name__ == "__main__":
    run_script(main)
