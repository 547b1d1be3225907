"""comparison.tsv: its columns, its means computed again by another road, its flags, and bad input."""

import csv
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import PROMOTERS, SPLICE, Results

from dnatune import comparison
from dnatune.errors import ConfigurationError, DataError

ROOT = Path(__file__).parents[2]


def read(results: Results):
    """Return (groups, rows) of synthetic results, through the library."""
    places = zip(results.evaluations, results.adapters, results.logs, strict=True)
    groups = comparison.group_runs(comparison.read_run(*place, results.tasks) for place in places)
    baselines = [comparison.read_baseline(folder, results.tasks) for folder in results.baselines]
    return groups, comparison.comparison_rows(groups, baselines, results.tasks)


def run_script(results: Results, out: Path):
    script = ROOT / "workflow" / "scripts" / "compare.py"
    command = [sys.executable, str(script), *results.arguments(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def change(path: Path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.fixture
def results(tmp_path):
    """Two optimizers of two seeds on one task, and two baselines."""
    made = Results(tmp_path / "results")
    for seed in (0, 1):
        made.add_run("adamw", seed, skill=1.2)
        made.add_run("sgd", seed, skill=0.8)
    made.add_baseline("gc", 0.3)
    made.add_baseline("kmers", 0.6)
    return made


def documented_columns() -> list[str]:
    text = (ROOT / "docs" / "contracts.md").read_text("utf-8")
    table = text.split("## `comparison.tsv`")[1].split("##")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([a-z_0-9]+)`", cell)]


def test_columns_are_those_of_the_contract():
    columns = documented_columns()
    assert len(columns) > 10
    assert list(comparison.COLUMNS) == columns


def test_script_writes_a_row_for_each_group_then_for_each_baseline(results, tmp_path):
    done = run_script(results, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "compare" / "comparison.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert list(rows[0]) == documented_columns()
    assert [(row["model"], row["optimizer"]) for row in rows] == [
        ("tiny", "adamw"),
        ("tiny", "sgd"),
        ("baseline", "gc"),
        ("baseline", "kmers"),
    ]
    assert not any(cell.lower() in ("nan", "none", "null", "inf") for row in rows for cell in row.values())
    assert rows[2]["steps"] == rows[2]["standard_deviation"] == rows[2]["wall_seconds"] == ""


def test_means_and_deviations_follow_from_the_predictions(results):
    """Computed again from predictions.tsv with formulas written out here; 1e-9 leaves room for the order of sums."""
    _, rows = read(results)
    values, accuracies = [], []
    for folder in results.evaluations[::2]:
        table = pd.read_csv(folder / "predictions.tsv", sep="\t")
        tp, tn = ((table.label == k) & (table.predicted == k) for k in (1, 0))
        fp, fn = ((table.label == 1 - k) & (table.predicted == k) for k in (1, 0))
        tp, tn, fp, fn = (int(part.sum()) for part in (tp, tn, fp, fn))
        values.append((tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))
        accuracies.append((tp + tn) / len(table))
    adamw = rows[0]
    assert adamw["mean"] == pytest.approx(np.mean(values), abs=1e-9)
    assert adamw["mcc"] == adamw["mean"]
    assert adamw["standard_deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert adamw["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-9)
    assert adamw["wall_seconds"] == pytest.approx(42.5)
    assert (adamw["seeds"], adamw["steps"], adamw["global_batch_size"]) == (2, 60, 128)


def test_metric_is_the_task_s(tmp_path):
    made = Results(tmp_path, (SPLICE,))
    made.add_run("adamw", task="splice")
    _, (row,) = read(made)
    assert row["metric"] == "f1_macro"
    assert row["mean"] == row["f1_macro"] != row["mcc"]
    assert row["standard_deviation"] is None


def test_equal_runs_have_no_flags(results):
    _, rows = read(results)
    assert [row["flags"] for row in rows] == ["", "", None, None]


def test_equal_gradient_evaluations_in_unequal_steps_are_equal_terms(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", steps=80)
    made.add_run("rk4", steps=20, stages=4)
    _, rows = read(made)
    assert [row["flags"] for row in rows] == ["", ""]
    assert [row["steps"] for row in rows] == [80, 20]


@pytest.mark.parametrize(
    ("difference", "flag"),
    [({"steps": 61}, "unequal_budget"), ({"batch": 64}, "unequal_batch"), ({"code": "bbbb"}, "mixed_code")],
)
def test_one_difference_raises_one_flag_on_both(tmp_path, difference, flag):
    made = Results(tmp_path)
    made.add_run("adamw")
    made.add_run("sgd", **difference)
    _, rows = read(made)
    assert [row["flags"] for row in rows] == [flag, flag]


def test_budget_and_batch_are_compared_within_a_task_and_code_over_all(tmp_path):
    made = Results(tmp_path, (PROMOTERS, SPLICE))
    made.add_run("adamw")
    made.add_run("adamw", task="splice", steps=33, batch=32, code="bbbb")
    _, rows = read(made)
    assert [row["flags"] for row in rows] == ["mixed_code", "mixed_code"]


def test_seeds_that_differ_are_mixed(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", 0)
    made.add_run("adamw", 1, steps=61)
    _, (row,) = read(made)
    assert (row["steps"], row["gradient_evaluations"], row["global_batch_size"]) == ("mixed", "mixed", 128)
    assert row["flags"] == "unequal_budget"


def test_a_diverged_seed_counts_in_no_mean_and_says_so(tmp_path):
    made = Results(tmp_path)
    made.add_run("sgd", 0)
    made.add_run("sgd", 1, diverged_at=12)
    made.add_run("sgd", 2)
    made.add_run("adamw", 0)
    groups, rows = read(made)
    one, _, three = (json.loads((folder / "metrics.json").read_text()) for folder in made.evaluations[:3])
    sgd, adamw = rows
    assert sgd["status"] == "diverged 1 of 3"
    assert sgd["seeds"] == 3
    assert sgd["mean"] == pytest.approx((one["mcc"] + three["mcc"]) / 2, abs=1e-12)
    assert sgd["steps"] == 60
    # It stopped early because it diverged: that is no unequal budget.
    assert (sgd["flags"], adamw["flags"]) == ("diverged", "")
    assert comparison.confusion_of(groups[0]).sum() == 2 * made.items


def test_a_group_that_diverged_whole_has_costs_and_no_metrics(tmp_path):
    made = Results(tmp_path)
    made.add_run("sgd", 0, diverged_at=12)
    _, (row,) = read(made)
    assert row["status"] == "diverged 1 of 1"
    assert [row[key] for key in ("mean", "standard_deviation", "accuracy", "auroc", "ece")] == [None] * 5
    assert (row["steps"], row["flags"]) == (12, "diverged")


def test_generated_answers_have_no_ranking_metrics_and_unparsable_ones_are_counted(tmp_path):
    made = Results(tmp_path, items=70)
    made.add_run("adamw", generate=True)
    (group,), (row,) = read(made)
    assert [row[key] for key in ("auroc", "brier", "ece")] == [None] * 3
    assert row["mean"] is not None
    matrix = comparison.confusion_of(group)
    assert matrix.shape == (2, 3)
    assert matrix[:, 2].sum() == 10  # every seventh answer of 70
    assert matrix.sum() == 70
    assert comparison.reliability_of(group).empty


def test_a_metric_that_one_seed_lacks_is_left_out(results):
    change(results.evaluations[0] / "metrics.json", auroc=None)
    _, rows = read(results)
    assert rows[0]["auroc"] is None
    assert rows[0]["brier"] is not None
    assert rows[1]["auroc"] is not None


def test_reliability_pools_seeds_and_agrees_with_a_count_by_hand(results):
    (adamw, _), _ = read(results)
    table = comparison.reliability_of(adamw, bins=10, fewest=1)
    assert table["items"].sum() == 2 * results.items
    scores = pd.concat([run.predictions for run in adamw.runs])
    logits = scores[["logp_0", "logp_1"]].to_numpy()
    confidence = 1 / (1 + np.exp(-np.abs(logits[:, 0] - logits[:, 1])))
    chosen = (confidence >= 0.7) & (confidence < 0.8)
    row = table[table["confidence"].between(0.7, 0.8)].iloc[0]
    assert row["items"] == chosen.sum()
    assert row["accuracy"] == pytest.approx((scores.label == scores.predicted).to_numpy()[chosen].mean())


def spoil_first_row(path: Path):
    header, _, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, "0\tpromoter\t1\t-1\t-1", *rest]) + "\n")


BREAKAGES = {
    "no run.json": (lambda r: (r.adapters[0] / "run.json").unlink(), "run.json"),
    "no metrics": (lambda r: (r.evaluations[1] / "metrics.json").unlink(), "metrics.json"),
    "no predictions": (lambda r: (r.evaluations[1] / "predictions.tsv").unlink(), "predictions.tsv"),
    "no log": (lambda r: r.logs[0].unlink(), "training.jsonl"),
    "key gone": (lambda r: (r.adapters[0] / "run.json").write_text('{"status": "completed"}'), "missing: diverged"),
    "not a number": (lambda r: change(r.evaluations[0] / "metrics.json", mcc="high"), "'mcc' is 'high'"),
    "NaN": (lambda r: change(r.evaluations[0] / "metrics.json", brier=math.nan), "'brier' is nan"),
    "a word for steps": (lambda r: change(r.adapters[0] / "run.json", steps=True), "'steps' is True"),
    "statuses differ": (lambda r: change(r.adapters[0] / "run.json", status="diverged", diverged=None), "run.json"),
    "classes differ": (lambda r: change(r.evaluations[0] / "metrics.json", confusion=[[1]]), "2 classes"),
    "items differ": (lambda r: change(r.evaluations[0] / "metrics.json", n=3), "metrics.json counts 3"),
    "order differs": (lambda r: r.logs.reverse(), "same order"),
    "given twice": (lambda r: [x.append(x[0]) for x in (r.evaluations, r.adapters, r.logs)], "given twice"),
    "a line that is not JSON": (lambda r: r.logs[0].write_text('{"step": 1'), "training.jsonl, line 1"),
    "a line without loss": (lambda r: r.logs[0].write_text('{"step": 1}'), "training.jsonl, line 1"),
    "a word for a loss": (
        lambda r: r.logs[0].write_text('{"step": 1, "gradient_evaluations": 1, "loss": "a"}'),
        "'loss'",
    ),
    "no map": (lambda r: change(r.adapters[0] / "run.json", software="torch"), "'torch' stands where a map is due"),
    "a word for a label": (lambda r: spoil_first_row(r.evaluations[0] / "predictions.tsv"), "not a table"),
    "a diverged baseline": (lambda r: change(r.baselines[0] / "metrics.json", status="diverged"), "a baseline cannot"),
    "an unknown task": (lambda r: r.tasks.clear(), "not among the tasks"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_bad_input_is_one_clear_error(results, name):
    spoil, message = BREAKAGES[name]
    spoil(results)
    with pytest.raises(DataError) as caught:
        read(results)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "x", "simulated": False, "tasks": [{"name": "t"}]}, "no usable list of tasks"),
        ({"name": "x", "tasks": []}, "missing: simulated"),
    ],
)
def test_incomplete_settings_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        comparison.tasks_by_name(settings)


def test_script_stops_with_a_message_and_leaves_nothing(results, tmp_path):
    (results.evaluations[0] / "metrics.json").write_text("{")
    done = run_script(results, tmp_path / "out")
    assert done.returncode == DataError.exit_status
    assert "metrics.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_script_refuses_lists_of_unequal_length(results, tmp_path):
    results.logs.pop()
    done = run_script(results, tmp_path / "out")
    assert done.returncode == ConfigurationError.exit_status
    assert "4 runs, 4 adapters and 3 logs" in done.stderr
