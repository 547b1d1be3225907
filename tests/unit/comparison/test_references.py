"""Published figures are those of the reference, and stand beside GUE's own test split alone."""

import csv
import json
from pathlib import Path

import pytest

from compared_results import read
from contamination_found import known_base
from dnatune.comparison import pairwise, references, summary
from dnatune.comparison import results as finished
from dnatune.data.leakage import Audit
from dnatune.data.resplit import Resplit
from dnatune.errors import DataError
from dnatune.report import page as report
from dnatune.report.sections import seeds
from dnatune.settings.tasks import GUE
from synthetic_results import Results

PUBLISHED = Path(references.__file__).with_name("published.tsv")


def test_the_figures_are_those_of_the_reference(shared):
    assert PUBLISHED.read_bytes() == (shared / "reference/gue_published.tsv").read_bytes()


def test_every_figure_is_of_a_task_of_gue_and_has_a_source():
    with PUBLISHED.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert {row["task"] for row in rows} <= GUE.keys()
    assert {row["metric"] for row in rows} == {"mcc", "accuracy"}
    assert all("bioRxiv" in row["source"] and -1 <= float(row["value"]) <= 1 for row in rows)
    assert len(references.all_published()) * 2 == len(rows)
    bert = next(one for one in references.all_published() if (one.task, one.model) == ("prom_core_all", "DNABERT-2"))
    assert bert.scores == {"mcc": 0.633, "accuracy": 0.816}


def of(task, size, simulated=False, resplit=None):
    audit = Audit.model_construct(rows={"test": size}, resplit=resplit)
    return references.published_of([task], {task: audit}, simulated)


def test_only_gue_s_own_test_split_has_published_figures():
    assert len(of("prom_core_tata", 613)) == 9
    assert of("prom_core_tata", 612) == []
    again = Resplit(clusters=6000, largest=19, rows={"test": 613}, moved={"test": 500})
    assert of("prom_core_tata", 613, resplit=again) == []
    assert of("prom_core_tata", 613, simulated=True) == []
    assert of("mine", 613) == []
    assert of("emp_H3", 613) == []


@pytest.fixture
def results(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", skill=1.0)
    made.add_baseline("kmers", 0.5)
    made.add_baseline("zero-shot-of-tiny", 0.1)
    return made


def test_the_centred_answer_of_a_base_stands_beside_the_raw_one(results):
    (row,) = references.control_rows([], [], results.tasks, [known_base(mcc=0.31, accuracy=0.66)])
    assert (row["model"], row["optimizer"], row["mean"]) == ("tiny", "zero-shot-centred", 0.31)
    assert (row["accuracy"], row["auroc"]) == (0.66, None)
    assert row.keys() == set(summary.COLUMNS)


def test_base_and_published_rows_stand_behind_the_baselines(results):
    base = references.ZeroShot(
        "tiny", "prom_core_all", finished.read_baseline(results.baselines[1], results.tasks).metrics
    )
    figure = references.Published("prom_core_all", "CNN", {"mcc": 0.6, "accuracy": 0.8}, "somewhere")
    rows = references.control_rows([base], [figure], results.tasks)
    assert [(row["model"], row["optimizer"], row["mean"]) for row in rows] == [
        ("tiny", "zero-shot", base.metrics.mcc),
        ("published", "CNN", 0.6),
    ]
    assert all(row.keys() == set(summary.COLUMNS) for row in rows)
    assert (rows[1]["accuracy"], rows[1]["auroc"]) == (0.8, None)
    groups, runs = read(results)
    audits = finished.read_audits(results.audits, results.tasks)
    evidence = report.Evidence(
        results.settings,
        results.tasks,
        groups,
        (),
        [*runs, *rows],
        (),
        audits,
        (),
        {},
        "",
        zero_shots=[base],
        published=[figure],
    )
    page = report.page(evidence).html
    assert "base models without fine-tuning" in page and "published figures" in page
    assert seeds.reference_lines(evidence, results.tasks["prom_core_all"], "tiny") == [
        ("base model", base.metrics.mcc),
        ("CNN, published", 0.6),
    ]


@pytest.mark.parametrize(
    ("metrics", "told"),
    [('{"status": "completed"}', "missing"), (None, "not found"), ("diverged", "cannot be diverged")],
)
def test_metrics_of_a_base_that_cannot_be_are_refused(results, tmp_path, metrics, told):
    folder = tmp_path / "zero-shot" / "tiny" / "prom_core_all"
    folder.mkdir(parents=True)
    if metrics == "diverged":
        metrics = (results.evaluations[0] / "metrics.json").read_text()
        metrics = json.dumps({**json.loads(metrics), "digest": None, "status": "diverged"})
    if metrics:
        (folder / "metrics.json").write_text(metrics)
    with pytest.raises(DataError, match=told):
        references.read_zero_shot(folder, results.tasks)


def page_of(results, *found):
    groups, rows = read(results)
    audits = finished.read_audits(results.audits, results.tasks)
    tests = pairwise.pair_rows(groups, results.tasks, results.settings.comparison)
    evidence = report.Evidence(
        results.settings, results.tasks, groups, (), rows, tests, audits, (), {}, "", contaminations=found
    )
    return " ".join(report.page(evidence).html.split())


def test_a_flag_stands_in_the_answer_with_its_evidence_in_words(results):
    page = page_of(results, known_base())
    answer = page[page.index('id="answer"') : page.index('id="leaderboard"')]
    for words in (
        "has probably seen test items",
        "MCC of 0.950",
        "20 points of accuracy",
        "30 points better",
        "2 of the",
    ):
        assert words in answer
    # On the first screen, with its meaning below, and in its own section.
    assert page.count("has probably seen test items") == 3


def test_better_than_chance_is_said_and_no_flag(results):
    page = page_of(results, known_base(mcc=0.2, signs=[], in_manifest=[]))
    assert "better than chance without training (MCC 0.200)" in page
    assert "has probably seen" not in page
    page = page_of(results, known_base(mcc=0.02, mcc_within_gc_p=0.4, signs=[], manifest_items=None))
    assert "There is no sign that tiny has seen test items" in page
    assert "No manifest" in page
