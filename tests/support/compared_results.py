"""Synthetic results, read and compared."""

import json
import subprocess
import sys
from pathlib import Path

from dnatune.comparison import controls, learning_rates, pairwise, plan, summary
from dnatune.comparison import results as finished
from dnatune.comparison.verdict_rows import VerdictRow
from synthetic_results import Results


def read(results: Results, choices=()):
    """Return (groups, rows) of synthetic results and of searches for their rates, through the library."""
    places = zip(results.evaluations, results.run_records, results.logs, strict=True)
    groups = finished.group_runs(finished.read_run(*place, results.tasks) for place in places)
    baselines = [finished.read_baseline(folder, results.tasks) for folder in results.baselines]
    audits = finished.read_audits(results.audits, results.tasks)
    searches = learning_rates.flags(choices)
    return groups, summary.comparison_rows(groups, baselines, results.tasks, audits, 0.95, searches=searches)


def verdict_rows(results: Results, reference: str | None = None) -> list[VerdictRow]:
    """Return the rows of tests.tsv of synthetic results, through the library."""
    groups, _ = read(results)
    baselines = [finished.read_baseline(folder, results.tasks) for folder in results.baselines]
    plans = map(plan.Plan.read, results.plans(reference))
    chosen = controls.chosen_controls({(one.model, one.task): one.content.control for one in plans}, baselines)
    testing = results.settings.comparison.model_copy(update={"reference": reference})
    return pairwise.pair_rows(groups, results.tasks, testing, chosen)


def pairs_of(results: Results) -> list[VerdictRow]:
    """Return the rows of pairs of optimizers on one task by the task's metric."""
    rows = verdict_rows(results)
    return [row for row in rows if row.headline and row.comparison == "optimizers" and len(row.tasks) == 1]


def run_script(results: Results, out: Path):
    command = [sys.executable, "-m", "dnatune", "compare", *results.arguments(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def change(path: Path, **entries):
    """Edit a record by hand: without the digest of what it was."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": None, **entries}))
