"""Splits of one class: what is not defined is withheld, and the page says so."""

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest

from compared_results import change, pairs_of, read, run_script
from contamination_found import known_base
from dnatune.comparison import learning_rates, references, results
from dnatune.report import page as report
from report_pages import base_of, downloads, evidence_of, outline, render, section_of, words
from searches import chosen, trial
from synthetic_results import PROMOTERS, SPLICE, Results

REASON = "the test items are all of one class"


@pytest.fixture(params=[PROMOTERS, SPLICE], ids=["mcc", "f1"])
def one(request, tmp_path, monkeypatch) -> Results:
    """Two optimizers of three seeds, far apart in accuracy, and two baselines, on test items of one class."""
    monkeypatch.setattr(Results, "truth", lambda self, task: np.ones(self.items, dtype=int))
    task = request.param["name"]
    made = Results(tmp_path / "results", (request.param,))
    for seed in range(3):
        made.add_run("adamw", seed, task=task)
        made.add_run("sgd", seed, task=task, skill=0.5)
    made.add_baseline("kmers", 0.3, task)
    made.add_baseline("bayes", 1.9, task)
    return made


def test_a_test_split_of_one_class_is_not_ranked(one):
    page = render(one)
    outline(page)
    task = one.settings.tasks[0]
    text = section_of(page, "answer")
    assert f"Every test item is of class {task.labels[1]}: no score tells classes apart there" in text
    assert f"One class: every test item of {task.name} is of class {task.labels[1]}, so MCC and AUROC say" in text
    for claim in ("highest mean", "above the baseline", "Bayes optimum", "diverged"):
        assert claim not in text
    assert "No ROC: the answers were decoded freely, every run diverged, or the test split lacks a class." in words(
        page
    )
    _, rows = read(one)
    assert all(row["auroc"] is row["mcc"] is None for row in rows)
    assert rows[0]["accuracy"] > rows[1]["accuracy"]


def test_a_test_split_of_one_class_has_no_differences(one):
    (row,) = pairs_of(one)
    assert row.verdict == "inconclusive"
    assert row.sentence == f"Nothing can be said of adamw against sgd: {REASON}."
    for name in ("verdict", "improvement", "effect size"):
        assert f"{name}: {REASON}" in row.withheld
    empty = ("difference", "low", "improvement", "effect_size", "seeds_needed", "power", "detectable")
    assert [getattr(row, column) for column in empty] == [None] * len(empty)
    # Which items two models get right is there to be compared whatever their classes.
    assert len(row.mcnemar_p) == 3 and max(row.mcnemar_p) < 0.05


def test_constant_predictions_are_not_blamed_for_what_one_class_withholds(one):
    task = one.settings.tasks[0].name
    for seed in range(3):
        one.add_run("rk4", seed, task=task, constant=True)
    withheld = [row.withheld for row in pairs_of(one)]
    assert len(withheld) == 3
    assert [words for words in withheld if not words.startswith(f"verdict: {REASON};")] == []


def test_the_script_and_the_figures_do_without_a_score(one, tmp_path):
    done = run_script(one, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    head, *rows = (tmp_path / "out" / "compare" / "comparison.tsv").read_text().splitlines()
    # Two optimizers and two baselines, whose scores are empty cells.
    assert len(rows) == 4
    assert "" in rows[0].split("\t") and {"nan", "None"}.isdisjoint(" ".join([head, *rows]).split())
    if one.settings.tasks[0].name == PROMOTERS["name"]:
        page = (tmp_path / "out" / "report.html").read_text("utf-8")
        assert "No score: the test items are all of one class." in section_of(page, "seeds")
        assert "No run has a score" in section_of(page, "cost")
        assert "MCC  " not in page and "scores.tsv" not in downloads(page)


def test_controls_of_one_class_have_no_score_and_no_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Results, "truth", lambda self, task: np.ones(self.items, dtype=int))
    made = Results(tmp_path)
    made.add_run("adamw")
    figure = references.Published("prom_core_all", "CNN", {"mcc": 0.6}, "somewhere")
    undefined = {"mcc": None, "mcc_within_gc_p": 1.0, "control_mcc": None, "permuted_words_mcc": None}
    undefined |= {"permuted_words_within_gc_p": 1.0}
    found = known_base(**undefined, signs=[], in_manifest=[])
    page = render(made, found, zero_shots=[base_of(made)], published=[figure])
    outline(page)
    means = pd.read_csv(io.StringIO(downloads(page)["comparison.tsv"]), sep="\t").set_index("optimizer")["mean"]
    assert np.isnan(means["zero-shot"]) and means["CNN"] == 0.6
    # The published figure has a score, but there is no axis for its line.
    assert "No score: the test items are all of one class." in section_of(page, "seeds")
    assert "scores.tsv" not in downloads(page)
    said = section_of(page, "contamination")
    assert "Whether tiny has seen test items of prom_core_all before cannot be told from its answers" in said
    assert "There is no sign" not in said


def test_one_task_of_one_class_leaves_the_others_their_ranks(tmp_path, monkeypatch):
    honest = Results.truth
    monkeypatch.setattr(
        Results, "truth", lambda self, task: np.ones(self.items, int) if task == "prom_core_all" else honest(self, task)
    )
    made = Results(tmp_path, (PROMOTERS, SPLICE), items=200)
    for task in made.tasks:
        for name, skill in {"adamw": 1.5, "sgd": 0.5}.items():
            made.add_run(name, task=task, skill=skill)
    page = render(made)
    assert "adamw scores highest, but one seed cannot show that it is better: macro F1" in section_of(page, "answer")
    assert "Left out, because they have no score on some task: adamw, sgd." in section_of(page, "all_tasks")
    curves = pd.read_csv(io.StringIO(downloads(page)["scores.tsv"]), sep="\t")
    assert set(curves["task"]) == {"splice"}


def test_an_mcc_that_is_null_is_read_and_one_that_is_a_word_is_not(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw")
    path = made.evaluations[0] / "metrics.json"
    change(path, mcc=None)
    assert results.read_metrics(path, made.tasks["prom_core_all"]).mcc is None


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("train", "One class: every training item of prom_core_all is of class promoter, so there was nothing to tell"),
        ("dev", "One class: every dev item of prom_core_all is of class promoter, so there is no dev MCC"),
        (
            "test",
            "One class: every test item of prom_core_all is of class promoter, so MCC and AUROC say nothing there.",
        ),
    ],
)
@pytest.mark.parametrize("tuned", [False, True])
def test_a_split_of_one_class_is_a_caution_whether_or_not_rates_were_searched_for(tmp_path, split, said, tuned):
    made = Results(tmp_path, items=200)
    made.add_run("sgd")
    place = ("tiny", "prom_core_all")
    choices = [chosen(trial(0.1, 0.5, place=place), trial(1.0, 0.4, place=place), place=place)] if tuned else []
    assert "One class" not in section_of(render(made, choices=choices), "answer")
    counts = json.loads(made.audits[0].read_text())["classes"]
    change(made.audits[0], classes={**counts, split: {"Non-promoter": 0, "promoter": 200}})
    assert said in section_of(render(made, choices=choices), "answer")


def test_a_class_that_a_split_lacks_is_a_caution(tmp_path):
    made = Results(tmp_path, (SPLICE,), items=200)
    made.add_run("sgd", task="splice")
    counts = json.loads(made.audits[0].read_text())["classes"]
    change(made.audits[0], classes={**counts, "dev": {**counts["dev"], "Donor Sites": 0}})
    text = section_of(render(made), "answer")
    assert "Missing class: no dev item of splice is of class Donor Sites." in text
    assert "One class" not in text


def test_rates_that_the_dev_loss_chose_in_place_of_an_mcc_are_said_to_be(tmp_path):
    place = ("tiny", "prom_core_all")
    found = [trial(10.0**power, loss, None, place=place) for power, loss in enumerate([0.5, 0.4, 0.6], start=-3)]
    choice = chosen(*found, metric="dev_mcc", truth=(1,) * 400, place=place)
    made = Results(tmp_path, items=200)
    made.add_run("sgd")
    section = section_of(render(made, choices=[choice]), "learning_rates")
    assert "all of one class, where MCC is not defined: the rates were chosen by the dev loss in its place." in section
    assert "dev loss, 400 items" in section and "dev MCC, 400" not in section
    assert "scored the same" not in section and learning_rates.remarks(choice) == []
    evidence = dataclasses.replace(evidence_of(made), choices=[choice])
    assert {"trials", "expected"} <= report.page(evidence).figures.keys()
