"""Verdicts of pairs where it is hard: constant runs, copies, few seeds, references, controls, several tasks."""

import numpy as np
import pytest

from compared_results import change, pairs_of, read, verdict_rows
from dnatune import inference
from dnatune.comparison import pairwise
from dnatune.errors import ConfigurationError
from dnatune.evaluation.metrics import Metrics
from dnatune.files import sha256_of_file
from dnatune.settings import experiment
from synthetic_results import PROMOTERS, SPLICE, Results


def test_runs_of_one_class_leave_every_pair_its_verdict(tmp_path):
    made = Results(tmp_path)
    for seed in range(5):
        made.add_run("adamw", seed, skill=2.0)
        made.add_run("sgd", seed, skill=0.7, constant=seed in (1, 3))
        made.add_run("rk4", seed, skill=0.1)
    found = {(row.first, row.second): row for row in pairs_of(made)}
    assert [row.verdict for row in found.values()] == ["better", "better", "inconclusive"]
    pair = found["adamw", "sgd"]
    assert pair.seeds == (0, 1, 2, 3, 4) and pair.second_values[1] == pair.second_values[3] == 0
    assert pair.low > 0 and pair.withheld == ""
    _, rows = read(made)
    assert [row["one_class"] for row in rows] == [0, 2, 0]
    assert [row["flags"] for row in rows] == ["", "one_class", ""]


def test_copies_are_identical_by_every_metric(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed, skill=2.0)
        made.add_run("copy", seed, skill=2.0)
        source, target = made.evaluations[-2], made.evaluations[-1]
        for file in ("predictions.tsv", "metrics.json"):
            (target / file).write_bytes((source / file).read_bytes())
    rows = verdict_rows(made)
    assert [(row.metric, row.verdict) for row in rows] == [
        ("mcc", "identical"),
        ("auroc", "identical"),
        ("log_loss", "identical"),
    ]
    assert rows[0].sentence == "adamw and copy are identical: every prediction of every seed is the same."
    # One log-probability that differs in its last digit ends it, though every answer is the same.
    path = made.evaluations[0] / "predictions.tsv"
    head, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([head, f"{first}1", *rest]) + "\n")
    metrics = Metrics.read(path.with_name("metrics.json"))
    metrics.model_copy(update={"predictions": sha256_of_file(path)}).write(path.with_name("metrics.json"))
    (row,) = pairs_of(made)
    assert row.verdict == "inconclusive" and "all 3 seeds give the same value" in row.sentence


def test_two_seeds_say_what_two_seeds_can_say(tmp_path):
    made = Results(tmp_path)
    for seed in range(2):
        made.add_run("adamw", seed, skill=2.0)
        made.add_run("sgd", seed, skill=0.7)
    (row,) = pairs_of(made)
    assert row.verdict == "inconclusive" and row.low is None
    assert len(row.mcnemar_p) == 2 and max(row.mcnemar_p) < 0.001
    first, second = (", ".join(f"{value:.3f}" for value in side) for side in (row.first_values, row.second_values))
    area = next(one for one in verdict_rows(made) if one.metric == "auroc")
    assert row.sentence == (
        f"Two seeds are too few for an interval. MCC is {row.first_mean:.3f} ({first}) for adamw and"
        f" {row.second_mean:.3f} ({second}) for sgd (seeds 0, 1); adamw is ahead with each; AUROC"
        f" {area.first_mean:.3f} and {area.second_mean:.3f}; McNemar's test of the trained models gives p < 0.001,"
        f" < 0.001."
    )


def four_methods(root) -> Results:
    made = Results(root)
    for seed in range(3):
        for name, skill in {"adamw": 1.3, "sgd": 1.0, "rk4": 0.9, "rkc": 0.95}.items():
            made.add_run(name, seed, skill=skill)
    return made


def test_a_reference_is_tested_against_each_other_method_alone(tmp_path):
    made = four_methods(tmp_path)
    everything = [row for row in verdict_rows(made) if row.headline]
    assert {row.family for row in everything} == {"all"} and {row.family_size for row in everything} == {6}
    rows = [row for row in verdict_rows(made, "sgd") if row.role == "primary"]
    own = [row for row in rows if "sgd" in (row.first, row.second)]
    rest = [row for row in rows if row not in own]
    assert ([row.family for row in own], [row.family for row in rest]) == (["reference"] * 3, ["rest"] * 3)
    assert all(row.headline for row in own) and not any(row.headline for row in rest)
    assert [row.adjusted_p for row in own] == pytest.approx(inference.holm([row.p_value for row in own]))
    # The others are adjusted for all pairs, as if there were no reference.
    before = {(row.first, row.second): row.adjusted_p for row in everything}
    assert [row.adjusted_p for row in rest] == [before[row.first, row.second] for row in rest]
    assert all(row.adjusted_p <= before[row.first, row.second] for row in own)
    # Fewer tests find smaller differences.
    wider = {(row.first, row.second): row.detectable for row in everything}
    assert all(row.detectable < wider[row.first, row.second] for row in own)


def test_a_reference_must_be_an_optimizer(tmp_path):
    settings = four_methods(tmp_path).configuration()
    settings["comparison"] = {"reference": "adam"}
    with pytest.raises(ConfigurationError, match=r"comparison\.reference") as caught:
        experiment.resolve(settings)
    assert "adamw" in str(caught.value)


def test_secondary_metrics_have_families_of_their_own_and_no_margin(tmp_path):
    rows = verdict_rows(four_methods(tmp_path))
    for metric in ("mcc", "auroc", "log_loss"):
        own = [row for row in rows if row.metric == metric]
        assert [row.adjusted_p for row in own] == pytest.approx(inference.holm([row.p_value for row in own]))
        assert {row.equivalence_margin for row in own} == {0.01 if metric == "mcc" else None}
    assert {row.role for row in rows if row.metric != "mcc"} == {"secondary"}
    # A lower log loss is better.
    ahead = next(row for row in rows if (row.first, row.second, row.metric) == ("adamw", "rk4", "log_loss"))
    assert (ahead.verdict, ahead.difference < 0, ahead.improvement) == ("better", True, 1.0)


def test_each_optimizer_is_tested_against_the_control_that_is_best_on_dev(tmp_path):
    made = four_methods(tmp_path)
    made.add_baseline("kmers", 1.8)
    made.add_baseline("gc", 1.9)
    made.add_baseline("bayes", 2.2)
    # On dev k-mers are ahead, which decides, and on test GC content; the Bayes optimum is no control.
    change(made.baselines[0] / "dev.json", mcc=0.9)
    change(made.baselines[2] / "dev.json", mcc=0.95)
    rows = [row for row in verdict_rows(made) if row.comparison == "control"]
    primary = [row for row in rows if row.role == "primary"]
    assert [(row.first, row.second, row.family) for row in primary] == [
        (name, "kmers", "control") for name in ("adamw", "sgd", "rk4", "rkc")
    ]
    assert [row.adjusted_p for row in primary] == pytest.approx(inference.holm([row.p_value for row in primary]))
    assert {row.verdict for row in primary} == {"worse"}
    # The control has the same predictions for every seed: its variance over items is all in the common part.
    assert all(len(set(row.second_values)) == 1 and len(row.second_values) == 3 for row in primary)
    assert primary[1].sentence.startswith("sgd is worse than k-mers (MCC ")


def test_a_task_with_few_items_of_a_class_is_not_tested(tmp_path):
    made = Results(tmp_path, rare={"prom_core_all": 12})
    for seed in range(3):
        made.add_run("adamw", seed, skill=3.0)
        made.add_run("sgd", seed, skill=0.1)
    primary, area, loss = verdict_rows(made)
    for row in (primary, area):
        assert row.verdict == "inconclusive" and row.approximate and row.adjusted_p is row.detectable is None
        assert row.family_size == 0 and row.limiting == 12 and row.low < row.difference < row.high
        assert "12 independent test items of class promoter: too few for a test" in row.sentence
        assert "12 independent test items" in row.withheld
    assert loss.verdict == "better" and not loss.approximate


@pytest.mark.parametrize("rare", [{"few": 12}, {"few": 12, "fewer": 11}])
def test_a_task_with_few_items_of_a_class_is_left_out_of_the_verdict_over_tasks(tmp_path, rare):
    made = Results(tmp_path, [PROMOTERS, *({**PROMOTERS, "name": name} for name in ("few", "fewer"))], rare=rare)
    for seed in range(3):
        for name, skill in {"adamw": 2.0, "sgd": 0.9}.items():
            for task in made.tasks:
                made.add_run(name, seed, task=task, skill=skill)
    row = next(row for row in verdict_rows(made) if len(row.tasks) > 1)
    if len(rare) == 1:
        assert row.tasks == ("prom_core_all", "fewer") and row.verdict == "better"
        assert "Left out: few (12 independent test items of class promoter: too few" in row.sentence
    else:
        # Fewer than two remain, so the mean over all is shown and not tested.
        assert len(row.tasks) == 3 and row.verdict == "inconclusive" and row.approximate
        assert "11 independent test items of class promoter of fewer: too few" in row.sentence


def test_tasks_of_one_metric_have_a_verdict_together(tmp_path):
    twin = {**PROMOTERS, "name": "prom_core_tata"}
    made = Results(tmp_path, (PROMOTERS, twin, SPLICE))
    for seed in range(3):
        for name, skill in {"adamw": 1.3, "sgd": 0.9}.items():
            for task in made.tasks:
                made.add_run(name, seed, task=task, skill=skill)
    rows = [row for row in verdict_rows(made) if len(row.tasks) > 1]
    assert [(row.tasks, row.metric) for row in rows] == [
        (("prom_core_all", "prom_core_tata"), metric) for metric in ("mcc", "auroc", "log_loss")
    ]
    each = [row for row in pairs_of(made) if row.metric == "mcc"]
    assert rows[0].difference == pytest.approx(np.mean([row.difference for row in each]), abs=1e-12)
    assert rows[0].first_values == pytest.approx(np.mean([row.first_values for row in each], axis=0), abs=1e-12)
    assert rows[0].items == 2 * made.items == rows[0].clusters
    assert "This is the mean over 2 tasks: prom_core_all, prom_core_tata." in rows[0].sentence
    # The same sequences in both tasks are one sample, not two.
    groups, _ = read(made)
    ids = {name: np.arange(made.items) for name in made.tasks}
    joint = pairwise.pair_rows(groups, made.tasks, made.settings.comparison, clusters=ids)
    shared = next(row for row in joint if len(row.tasks) > 1)
    assert shared.clusters == made.items and shared.difference == rows[0].difference
