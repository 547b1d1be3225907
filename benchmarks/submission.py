#!/usr/bin/env python
"""Measure the cost of submission with many one-step runs through a real Slurm on this machine, and print a table.

Starts the test suite's cluster (root, Debian's packages of .ci/packages-slurm.txt), submits one-step runs of a tiny
model with `snakemake --profile slurm` as it is, and reads sacct and Snakemake's memory. On a real cluster, queue times
come on top.

By hand:  .venv/bin/python benchmarks/submission.py --runs 20
"""

import argparse
import contextlib
import datetime
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/support", "workflow")]


from cluster import Cluster, Shape  # noqa: E402
from dnatune.errors import RunError, run_script  # noqa: E402
from dnatune.files import read_json  # noqa: E402
from slurm_runs import SITE, SlurmWorkplace  # noqa: E402
from workflow_runs import small  # noqa: E402


def main() -> None:
    """Run the measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="number of one-step runs (default: 20)")
    options = parser.parse_args()
    configuration = small(optimizers={"wild": None}, budget={"steps": 1}, seeds=list(range(options.runs)))
    with tempfile.TemporaryDirectory(prefix="dnatune-submission-") as folder:
        cluster = Cluster(Path(folder) / "cluster", Shape())
        cluster.start()
        try:
            measure(cluster, SlurmWorkplace(Path(folder) / "place", cluster), configuration, options.runs)
        finally:
            cluster.stop()


def measure(cluster: Cluster, workplace: SlurmWorkplace, configuration: dict, runs: int) -> None:
    """Submit the runs, measure Snakemake's memory meanwhile, and print the cost per job.

    Raises:
        RunError: the workflow failed, or not every run is one job.
    """
    workplace.site.write_text(yaml.safe_dump({**SITE, "ranks_per_node": 1}), "utf-8")
    began = time.monotonic()
    process = workplace.start(configuration, *targets(runs), watchful=False)
    own = peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            own = max(own, watched.memory_info().rss)
            peak = max(peak, sum(one.memory_info().rss for one in [watched, *watched.children(recursive=True)]))
        time.sleep(0.2)
    wall = time.monotonic() - began
    if process.returncode:
        raise RunError(f"Snakemake ended with exit status {process.returncode}:\n{workplace.said()[-3000:]}")
    jobs = [row for row in cluster.sacct("-X") if row["Comment"].startswith("rule_finetune")]
    if len(jobs) != runs or any(row["State"] != "COMPLETED" for row in jobs):
        raise RunError(f"{runs} runs were to be {runs} completed jobs: {[row['State'] for row in jobs]}")
    elapsed = [int(row["ElapsedRaw"]) for row in jobs]
    computed = [training_seconds(workplace, target) for target in targets(runs)]
    starts, ends = ([datetime.datetime.fromisoformat(row[key]) for row in jobs] for key in ("Start", "End"))
    span = (max(ends) - min(starts)).total_seconds()
    table = [
        ("runs of one step, a job each", f"{runs}"),
        ("from the command to its end", f"{wall:.0f} s"),
        ("first start to last end of the jobs", f"{span:.0f} s, {span / runs:.1f} s a job"),
        ("one job: median (range)", f"{statistics.median(elapsed):.0f} s ({min(elapsed)} to {max(elapsed)})"),
        ("of it the step itself, median", f"{statistics.median(computed):.2f} s"),
        ("log-in node: memory of Snakemake at most", f"{own / 2**20:.0f} MiB"),
        ("log-in node: memory with its children, the downloads among them", f"{peak / 2**20:.0f} MiB"),
    ]
    print("| what | measured |\n|---|---|")  # noqa: T201
    for what, measured in table:
        print(f"| {what} | {measured} |")  # noqa: T201


def training_seconds(workplace: SlurmWorkplace, target: str) -> float:
    """Return the duration of a run's steps from run.json."""
    return read_json((workplace.folder / target).parent / "run.json")["wall_seconds"]


def targets(runs: int) -> list[str]:
    """Return the training logs of all runs."""
    return [f"results/small/finetune/tiny/prom_core_all/adamw/seed{seed}/training.jsonl" for seed in range(runs)]


if __name__ == "__main__":
    run_script(main)
