"""Synthetic results, read and compared."""

import json
import subprocess
import sys
from pathlib import Path

from dnatune.comparison import pairwise, summary
from dnatune.comparison import results as finished
from synthetic_results import Results


def read(results: Results):
    """Return (groups, rows) of synthetic results, through the library."""
    places = zip(results.evaluations, results.run_records, results.logs, strict=True)
    groups = finished.group_runs(finished.read_run(*place, results.tasks) for place in places)
    baselines = [finished.read_baseline(folder, results.tasks) for folder in results.baselines]
    audits = finished.read_audits(results.audits, results.tasks)
    return groups, summary.comparison_rows(groups, baselines, results.tasks, audits, 0.95)


def pairs_of(results: Results) -> list[dict]:
    """Return the rows of tests.tsv of synthetic results, through the library."""
    return pairwise.pair_rows(read(results)[0], results.tasks, results.settings.comparison)


def run_script(results: Results, out: Path):
    command = [sys.executable, "-m", "dnatune", "compare", *results.arguments(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def change(path: Path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
