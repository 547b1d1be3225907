"""comparison.tsv and tests.tsv: columns, values computed again by another road, flags, refusals, and bad input."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import f1_score, log_loss, matthews_corrcoef, roc_auc_score

from compared_results import change, pairs_of, read, run_script, verdict_rows
from dnatune import inference
from dnatune.comparison import pooled_predictions, segments, summary
from dnatune.comparison import results as finished
from dnatune.comparison.verdict_rows import TEST_COLUMNS
from dnatune.errors import ConfigurationError, DataError
from dnatune.evaluation import metrics
from dnatune.inference.reasons import too_few
from synthetic_results import PROMOTERS, SPLICE, Results

ROOT = Path(__file__).parents[3]


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


def documented_columns(file: str) -> list[str]:
    text = (ROOT / "docs" / "contracts.md").read_text("utf-8")
    table = text.split(f"## `{file}`")[1].split("##")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([a-z_0-9]+)`", cell)]


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("comparison.tsv", summary.COLUMNS),
        ("tests.tsv", TEST_COLUMNS),
        ("segments.tsv", segments.SEGMENT_COLUMNS),
    ],
)
def test_columns_are_those_of_the_contract(file, columns):
    documented = documented_columns(file)
    assert len(documented) > 8
    assert list(columns) == documented


def test_script_writes_a_row_for_each_group_then_for_each_baseline(results, tmp_path):
    done = run_script(results, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "compare" / "comparison.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert list(rows[0]) == documented_columns("comparison.tsv")
    assert [(row["model"], row["optimizer"]) for row in rows] == [
        ("tiny", "adamw"),
        ("tiny", "sgd"),
        ("baseline", "gc"),
        ("baseline", "kmers"),
    ]
    assert not any(cell.lower() in ("nan", "none", "null", "inf") for row in rows for cell in row.values())
    assert rows[2]["steps"] == rows[2]["standard_deviation"] == rows[2]["wall_seconds"] == ""


def test_a_baseline_has_its_dev_score_and_predictions(results):
    one = finished.read_baseline(results.baselines[0], results.tasks)
    assert one.applies and one.dev.mcc == one.metrics.mcc and one.model is None
    assert list(one.predictions.columns) == ["id", "label", "predicted", "logp_0", "logp_1"]
    assert len(one.predictions) == one.metrics.n


def test_a_baseline_whose_two_scores_disagree_whether_it_applies_is_refused(results):
    metrics.not_applicable("unequal lengths").write(results.baselines[0] / "dev.json")
    with pytest.raises(DataError, match=r"'completed', and that in dev\.json 'not_applicable'"):
        finished.read_baseline(results.baselines[0], results.tasks)


def test_a_reason_goes_with_what_does_not_apply():
    with pytest.raises(ValueError, match="'reason' goes with"):
        metrics.Metrics(**{**metrics.diverged().model_dump(), "reason": "unequal lengths"})


def test_script_writes_a_row_for_each_pair(results, tmp_path):
    results.add_run("rk4", 0, skill=1.0)
    done = run_script(results, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "compare" / "tests.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert list(rows[0]) == documented_columns("tests.tsv")
    pairs = [("adamw", "sgd", "0 1"), ("adamw", "rk4", "0"), ("sgd", "rk4", "0")]
    primary = [row for row in rows if (row["comparison"], row["role"]) == ("optimizers", "primary")]
    assert [(row["first"], row["second"], row["seeds"]) for row in primary] == pairs
    assert not any(cell.lower() in ("nan", "none", "null", "inf") for row in rows for cell in row.values())
    assert "rk4 has no run with seed 1" in primary[1]["withheld"]
    # kmers is the better of the two baselines on dev: every optimizer is compared with it, by three metrics.
    against = [row for row in rows if row["comparison"] == "control"]
    assert [(row["first"], row["second"]) for row in against[:3]] == [
        (name, "kmers") for name in ("adamw", "sgd", "rk4")
    ]
    assert len(rows) == 3 * (3 + 3)


def labels_of(results: Results, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and true labels of a run, read anew; an answer that names no class is -1."""
    table = pd.read_csv(results.root / "evaluate" / place / "predictions.tsv", sep="\t")
    return table["predicted"].fillna(-1).to_numpy(int), table["label"].to_numpy()


NUMBERS = {
    "difference": lambda found: found.interval.estimate,
    "low": lambda found: found.interval.low,
    "high": lambda found: found.interval.high,
    "p_value": lambda found: found.p_value,
}


@pytest.mark.parametrize(
    ("task", "generate"), [(PROMOTERS, False), (SPLICE, False), (PROMOTERS, True)], ids=["mcc", "f1", "free decoding"]
)
def test_a_pair_s_numbers_are_those_of_the_statistics_of_its_predictions(tmp_path, task, generate):
    """Both roads do the same arithmetic on the same labels; 1e-9 leaves room for the order of sums."""
    made = Results(tmp_path, (task,))
    skills = {"rk4": 1.6, "adamw": 1.1, "sgd": 1.0}
    for seed in range(4):
        for name, skill in skills.items():
            made.add_run(name, seed, task=task["name"], skill=skill, generate=generate)
    rows = pairs_of(made)
    secondary = {(row.first, row.second, row.metric): row for row in verdict_rows(made) if row.role == "secondary"}
    found = []
    for row in rows:
        runs = [
            [labels_of(made, f"tiny/{task['name']}/{name}/seed{seed}") for seed in range(4)]
            for name in (row.first, row.second)
        ]
        sides, truth = [np.stack([labels for labels, _ in side]) for side in runs], runs[0][0][1]
        found.append(inference.paired_difference(*sides, truth, task["metric"], 0.95))
        for column, number in NUMBERS.items():
            assert getattr(row, column) == pytest.approx(number(found[-1]), abs=1e-9), column
        single = [inference.mcnemar_exact(a, b, truth).p_value for a, b in zip(*sides, strict=True)]
        # Written with six digits.
        assert list(row.mcnemar_p) == pytest.approx(single, rel=1e-5)
        values = [[score(side, truth, task["metric"]) for side in part] for part in sides]
        assert row.improvement == inference.probability_of_improvement(*values).estimate
        effect = inference.effect_size(*values)
        assert row.effect_size == pytest.approx(effect.estimate, rel=1e-6)
        assert row.effect_size_low == pytest.approx(effect.low, rel=1e-6)
        assert (row.seeds_needed, row.seeds_sentence) == (
            (needed := inference.seeds_needed(found[-1], 0.01, comparisons=3)).seeds,
            needed.sentence,
        )
        assert (row.seeds, row.flags) == ((0, 1, 2, 3), ())
        tables = [
            [
                pd.read_csv(made.root / f"evaluate/tiny/{task['name']}/{name}/seed{seed}/predictions.tsv", sep="\t")
                for seed in range(4)
            ]
            for name in (row.first, row.second)
        ]
        assert row.withheld == ""
        for metric, oracle in (("auroc", area), ("log_loss", loss)):
            other = secondary[row.first, row.second, metric]
            if generate:
                assert other.difference is other.low is None and other.verdict == "inconclusive"
                assert "decoded freely" in other.withheld and "decoded freely" in other.sentence
            else:
                scores = [[oracle(table) for table in side] for side in tables]
                assert other.difference == pytest.approx(np.mean(np.subtract(*scores)), abs=1e-9)
                assert other.low < other.difference < other.high
                assert other.first_values == pytest.approx(scores[0], abs=1e-9)
    adjusted = inference.holm([difference.p_value for difference in found])
    for row, difference, p in zip(rows, found, adjusted, strict=True):
        verdict = inference.verdict(difference, 0.01, p, (row.first, row.second))
        assert row.adjusted_p == pytest.approx(p, abs=1e-9)
        assert (row.verdict, row.sentence) == (verdict.word, verdict.sentence)
    assert rows[0].verdict == "better"


def log_probabilities(table: pd.DataFrame) -> np.ndarray:
    """Return those of the classes given that the answer is one of them [items, classes]."""
    found = table[[column for column in table.columns if column.startswith("logp_")]].to_numpy()
    return found - np.log(np.exp(found).sum(axis=1, keepdims=True))


def area(table: pd.DataFrame) -> float:
    """Return the AUROC; of more than two classes the mean of each against the rest."""
    found = np.exp(log_probabilities(table))
    classes = found.shape[1]
    each = [roc_auc_score(table.label == one, found[:, one]) for one in range(classes)]
    return each[1] if classes == 2 else float(np.mean(each))


def loss(table: pd.DataFrame) -> float:
    return log_loss(table.label, np.exp(log_probabilities(table)))


def score(labels, truth, metric) -> float:
    """Return a metric by scikit-learn."""
    if metric == "mcc":
        return matthews_corrcoef(truth, labels)
    return f1_score(truth, labels, labels=np.unique(truth), average="macro")


def test_pairs_are_of_one_model_and_adjusted_over_all_models(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        for model in ("small", "large"):
            for name, skill in {"adamw": 1.2, "sgd": 1.0}.items():
                made.add_run(name, seed, model=model, skill=skill)
    rows = pairs_of(made)
    assert [(row.model, row.first, row.second) for row in rows] == [
        ("small", "adamw", "sgd"),
        ("large", "adamw", "sgd"),
    ]
    smallest = min(rows, key=lambda row: row.p_value)
    assert smallest.adjusted_p == min(1, 2 * smallest.p_value)


def three_seeds(root: Path, **second) -> Results:
    """Return two optimizers of three seeds, far apart; keywords are of the second's seed 1."""
    made = Results(root)
    for seed in range(3):
        made.add_run("adamw", seed, skill=2.0)
        made.add_run("sgd", seed, skill=0.7, **(second if seed == 1 else {}))
    return made


def test_one_seed_has_a_difference_and_no_verdict(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", skill=2.0)
    made.add_run("sgd", skill=0.7)
    (row,) = pairs_of(made)
    assert row.verdict == "inconclusive"
    assert row.difference == pytest.approx(read(made)[1][0]["mean"] - read(made)[1][1]["mean"], abs=1e-9)
    empty = ("low", "high", "p_value", "adjusted_p", "improvement", "effect_size", "seeds_needed", "power")
    assert [getattr(row, column) for column in empty] == [None] * len(empty)
    reason = too_few(1)
    assert row.withheld == f"verdict: {reason}; improvement: {reason}; effect size: {reason}"
    words = (
        "One seed is too few for an interval. MCC is {:.3f} for adamw and {:.3f} for sgd (seed 0); adamw is ahead with"
    )
    assert row.sentence.startswith(words.format(row.first_mean, row.second_mean) + " it; AUROC 0.")
    assert row.sentence.endswith("; McNemar's test of the trained models gives p < 0.001.")
    assert max(row.mcnemar_p) < 1e-6  # the two models of the one seed are far apart


def test_a_diverged_seed_is_named_and_the_others_are_compared(tmp_path):
    made = three_seeds(tmp_path, diverged_at=12)
    made.add_run("adamw", 3, skill=2.0)
    made.add_run("sgd", 3, skill=0.7)
    (row,) = pairs_of(made)
    assert row.seeds == (0, 2, 3)
    assert row.verdict == "better"
    assert row.sentence.endswith("This holds for runs that complete, seeds 0, 2, 3: sgd diverged with seed 1.")


def test_an_optimizer_that_always_diverged_cannot_be_compared(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed)
        made.add_run("sgd", seed, diverged_at=5)
    (row,) = pairs_of(made)
    assert (row.verdict, row.seeds, row.difference, row.mcnemar_p) == ("inconclusive", (), None, ())
    assert row.sentence == (
        "Nothing can be said of adamw against sgd: no seed was completed by both; sgd diverged with seeds 0, 1, 2."
    )
    assert row.withheld.startswith("verdict: no seed was completed by both; sgd diverged")


@pytest.mark.parametrize(
    ("difference", "flag", "words"),
    [
        ({"steps": 61}, "unequal_budget", "different budgets (60 of adamw and 60, 61 of sgd gradient evaluations)"),
        ({"batch": 64}, "unequal_batch", "different batches and so another order of data (128 of adamw and 64, 128 of"),
        ({"code": "bbbb"}, "mixed_code", "different versions of dnatune's code"),
    ],
)
def test_a_pair_not_at_equal_terms_says_what_differs(tmp_path, difference, flag, words):
    (row,) = pairs_of(three_seeds(tmp_path, **difference))
    assert row.flags == (flag,)
    assert row.sentence.startswith(f"Not on equal terms: {words}")
    assert "adamw is better than sgd" in row.sentence


def test_other_training_data_are_not_equal_terms(results):
    change(results.run_records[0], inputs={"model": "0123456789abcdef", "train": "other"})
    (row,) = pairs_of(results)
    assert row.flags == ("unequal_inputs",)
    assert row.sentence.startswith("Not on equal terms: different base models or training data.")


def test_runs_scored_on_different_items_are_not_paired(results):
    path = results.evaluations[0] / "predictions.tsv"
    header, first, *rest = path.read_text().splitlines()
    number, label, *others = first.split("\t")
    path.write_text("\n".join([header, "\t".join([number, str(1 - int(label)), *others]), *rest]) + "\n")
    change(path.with_name("metrics.json"), predictions=None)
    (row,) = pairs_of(results)
    assert row.sentence == ("Nothing can be said of adamw against sgd: the runs were scored on different test items.")
    assert row.difference is None


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
    # Two seeds give no interval.
    assert adamw["low"] is adamw["high"] is None
    assert adamw["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-9)
    assert adamw["wall_seconds"] == pytest.approx(42.5)
    assert (adamw["seeds"], adamw["steps"], adamw["global_batch_size"]) == (2, 60, 128)


def test_a_mean_over_seeds_has_student_s_interval(tmp_path):
    _, rows = read(three_seeds(tmp_path))
    row = rows[0]
    half = stats.t.isf(0.025, 2) * row["standard_deviation"] / math.sqrt(3)
    assert [row["low"], row["high"]] == pytest.approx([row["mean"] - half, row["mean"] + half], rel=1e-12)


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
    assert row["epochs"] == 1.0
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
    assert pooled_predictions.confusion_of(groups[0]).sum() == 2 * made.items


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
    matrix = pooled_predictions.confusion_of(group)
    assert matrix.shape == (2, 3)
    assert matrix[:, 2].sum() == 10  # every seventh answer of 70
    assert matrix.sum() == 70
    assert pooled_predictions.reliability_of(group).empty


def test_a_metric_that_one_seed_lacks_is_left_out(results):
    change(results.evaluations[0] / "metrics.json", auroc=None)
    _, rows = read(results)
    assert rows[0]["auroc"] is None
    assert rows[0]["brier"] is not None
    assert rows[1]["auroc"] is not None


def test_reliability_pools_seeds_and_agrees_with_a_count_by_hand(results):
    (adamw, _), _ = read(results)
    table = pooled_predictions.reliability_of(adamw, bins=10, fewest=1)
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
    "no run.json": (lambda r: (r.run_records[0]).unlink(), "run.json"),
    "no metrics": (lambda r: (r.evaluations[1] / "metrics.json").unlink(), "metrics.json"),
    "no predictions": (lambda r: (r.evaluations[1] / "predictions.tsv").unlink(), "predictions.tsv"),
    "no log": (lambda r: r.logs[0].unlink(), "training.jsonl"),
    "key gone": (lambda r: (r.run_records[0]).write_text('{"status": "completed"}'), "missing: settings"),
    "not a number": (lambda r: change(r.evaluations[0] / "metrics.json", mcc="high"), "'mcc' is 'high'"),
    "NaN": (lambda r: change(r.evaluations[0] / "metrics.json", brier=math.nan), "'brier' is nan"),
    "a word for steps": (lambda r: change(r.run_records[0], steps=True), "'steps' is True"),
    "statuses differ": (lambda r: change(r.evaluations[0] / "metrics.json", status="diverged"), "and its metrics are"),
    "classes differ": (lambda r: change(r.evaluations[0] / "metrics.json", confusion=[[1]]), "2 classes"),
    "items differ": (lambda r: change(r.evaluations[0] / "metrics.json", n=3), "metrics.json counts 3"),
    "order differs": (lambda r: r.logs.reverse(), "same order"),
    "given twice": (lambda r: [x.append(x[0]) for x in (r.evaluations, r.run_records, r.logs)], "given twice"),
    "a line that is not JSON": (lambda r: r.logs[0].write_text('{"step": 1'), "training.jsonl, line 1"),
    "a line without loss": (lambda r: r.logs[0].write_text('{"step": 1}'), "training.jsonl, line 1"),
    "a word for a loss": (
        lambda r: r.logs[0].write_text('{"step": 1, "gradient_evaluations": 1, "loss": "a"}'),
        "'loss'",
    ),
    "no map": (lambda r: change(r.run_records[0], software="torch"), "'software' is 'torch'"),
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
    assert "4 runs, 4 records and 3 logs" in done.stderr


def test_scores_without_leaked_items_are_those_of_the_other_rows(results):
    from sklearn.metrics import matthews_corrcoef

    leaked = [0, 5, 17, 101]
    results.add_audit(leaked=leaked)
    groups, rows = read(results)
    for group, row in zip(groups, rows, strict=False):
        scores = []
        for run in group.runs:
            kept = run.predictions.drop(index=leaked)
            scores.append(matthews_corrcoef(kept["label"], kept["predicted"]))
        assert row["leaked_items"] == 4
        assert row["mean_without_leaked"] == pytest.approx(np.mean(scores), abs=1e-12)
        assert row["mean_without_leaked"] != row["mean"]


def test_an_audit_that_lacks_a_key_is_refused(results):
    path = results.audits[0]
    path.write_text("{}")
    with pytest.raises(DataError, match="leaked") as caught:
        read(results)
    assert str(path) in str(caught.value)
