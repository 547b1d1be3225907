"""Learning rates found by trials, from the configuration to the report."""

import csv
import json
import re

import pytest
from test_chain import contract, json_lines, json_of, matcher, table

from workflow_runs import ROOT, Workplace, copied, files_below, small

TUNED = small(
    optimizers={"adamw": {"learning_rate": None}, "wild": {"learning_rate": None}},
    budget={"steps": 12},
    tuning={
        "trials": 2,
        "rates": {"adamw": {"from": 2.0e-3, "to": 2.0e-2}, "wild": [1.0e3, 1.0e4]},
        "budget": {"steps": 8},
        "seed": 5,
        "dev_examples": 30,
    },
)


@pytest.fixture(scope="module")
def results(chain, tmp_path_factory):
    workplace = copied(chain.folder, tmp_path_factory.mktemp("tuned") / "copy")
    done = workplace.complete(TUNED)
    # Of each optimizer once, before anything runs; and a run says it in its log.
    assert done.output.count("a run of 12 steps says little") == 2
    assert "a run of 12 steps says little" in workplace.log("small/finetune/tiny/prom_core_all/adamw/seed3")
    assert "a run of 8 steps says little" in workplace.log("small/tuning/tiny/prom_core_all/adamw/rate0.02")
    assert workplace.plan(TUNED).counts == {}
    return workplace.results


def test_every_trial_left_the_documented_files_and_no_weights(results):
    folder = results / "tuning"
    documented = [matcher(path) for path in contract("tuning") if path.startswith("tuning/")]
    found = [file for file in files_below(folder) if not file.endswith(".snakemake_timestamp")]
    assert [file for file in found if not any(p.fullmatch(f"tuning/{file}") for p in documented)] == []
    assert [file for file in found if "adapter" in file] == []
    assert len([file for file in found if file.endswith("training.jsonl") and ".kept" not in file]) == 4


def test_a_trial_trains_as_configured_and_is_scored_once_on_the_dev_split(results):
    trial = results / "tuning/tiny/prom_core_all/adamw/rate0.02"
    record = json_of(trial / "run.json")
    assert record["settings"]["seed"] == 5
    assert record["steps"] == 8
    rows = json_lines(trial / "training.jsonl")
    assert ["dev_loss" in row for row in rows] == [False] * 7 + [True]


def test_the_best_trial_gave_the_rate_of_the_runs(results):
    choice = json_of(results / "tuning/tiny/prom_core_all/adamw/choice.json")
    assert choice.keys() == contract("`choice.json`").keys()
    assert choice["trials"][0].keys() == contract("`tuning.tsv`").keys() - {"model", "task", "optimizer"}
    assert choice["dev_items"] == 30
    last = {
        rate: json_lines(results / f"tuning/tiny/prom_core_all/adamw/rate{rate}/training.jsonl")[-1]["dev_loss"]
        for rate in (0.002, 0.02)
    }
    assert choice["learning_rate"] == min(last, key=last.get)
    assert choice["score"] == min(last.values())
    run = json_of(results / "finetune/tiny/prom_core_all/adamw/seed3/run.json")
    assert run["settings"]["optimizer"]["hyperparameters"]["learning_rate"] == choice["learning_rate"]
    assert run["steps"] == 12


def test_trials_that_all_diverge_are_a_result(results):
    choice = json_of(results / "tuning/tiny/prom_core_all/wild/choice.json")
    assert choice["score"] is None
    assert "all_diverged" in choice["warnings"]
    text = re.sub(r"<[^>]+>", "", (results / "report.html").read_text("utf-8"))
    assert "Every trial diverged (1000, 10000)" in text


def test_the_table_of_trials_has_the_documented_columns(results):
    with (results / "compare/tuning.tsv").open(encoding="utf-8") as stream:
        assert next(csv.reader(stream, delimiter="\t")) == list(contract("`tuning.tsv`"))
    rows = table(results / "compare/tuning.tsv")
    assert len(rows) == 4
    assert sum(row["chosen"] == "yes" for row in rows) == 2
    assert (results / "compare/figures/trials.svg").read_text("utf-8").startswith("<svg")


def test_the_test_split_is_met_once_after_the_choice(results):
    """No rule of the trials reads it, and every score of it is of a run that took its rate from a choice."""
    rules = (ROOT / "workflow/rules/tuning.smk").read_text("utf-8")
    assert "test.jsonl" not in rules
    choice = results / "tuning/tiny/prom_core_all/adamw/choice.json"
    metrics = results / "evaluate/tiny/prom_core_all/adamw/seed3/metrics.json"
    assert choice.stat().st_mtime < metrics.stat().st_mtime
    assert json.loads(metrics.read_text())["n"] == 60


@pytest.mark.slow
def test_a_second_step_runs_about_the_best_rate_with_two_more_seeds(results, tmp_path):
    """It reruns no trial of the first step; another number of rates reruns no more than the trials of other rates."""
    workplace = copied(results.parents[1], tmp_path / "copy")
    tuned = {**TUNED, "tuning": {**TUNED["tuning"], "fine": 3}}
    follows = {"finetune": 2, "evaluate": 2, "compare": 1}
    assert workplace.plan(tuned).counts == {"choose_coarse": 2, "fine_trial": 12, "choose": 2, **follows}
    folder = "results/small/tuning/tiny/prom_core_all/adamw"
    workplace.complete(tuned, "--", f"{folder}/choice.json")
    coarse, choice = (json_of(workplace.folder / folder / f"{name}.json") for name in ("coarse", "choice"))
    best, means = coarse["learning_rate"], {}
    for index, factor in enumerate((10**-0.5, 1, 10**0.5)):
        trials = [workplace.folder / folder / f"fine{index}/seed{seed}" for seed in (6, 7)]
        records = [json_of(trial / "run.json") for trial in trials]
        assert [record["seed"] for record in records] == [6, 7]
        (rate,) = {record["settings"]["optimizer"]["hyperparameters"]["learning_rate"] for record in records}
        assert rate == pytest.approx(best * factor, rel=5e-3)
        means[rate] = sum(json_lines(trial / "training.jsonl")[-1]["dev_loss"] for trial in trials) / 2
    assert best in means
    assert choice["learning_rate"] == min(means, key=means.get)
    assert choice["score"] == pytest.approx(min(means.values()))
    documented = [matcher(path) for path in contract("tuning") if path.startswith("tuning/")]
    found = [file for file in files_below(workplace.results / "tuning") if not file.endswith(".snakemake_timestamp")]
    assert [file for file in found if not any(p.fullmatch(f"tuning/{file}") for p in documented)] == []
    five = {**TUNED, "tuning": {**TUNED["tuning"], "fine": 5}}
    assert workplace.plan(five, "--", f"{folder}/choice.json").counts == {"fine_trial": 10, "choose": 1}


def test_another_grid_reruns_its_new_trials_and_what_follows_from_the_choice(results):
    workplace = Workplace(results.parents[1])
    rates = {"adamw": {"from": 2.0e-3, "to": 5.0e-2}, "wild": [1.0e3, 1.0e4]}
    plan = workplace.plan({**TUNED, "tuning": {**TUNED["tuning"], "rates": rates}})
    assert plan.counts == {"trial": 1, "choose": 1, "finetune": 1, "evaluate": 1, "compare": 1}
