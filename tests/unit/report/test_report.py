"""The page: whole, self-contained, well-formed, honest in its words, small enough."""

import base64
import hashlib
import html
import html.parser
import io
import re

import numpy as np
import pandas as pd
import pytest

from compared_results import pairs_of, read, verdict_rows
from dnatune.comparison import pooled_predictions, segments, summary
from dnatune.comparison import verdict_rows as tested
from dnatune.data import manifests
from dnatune.model.pretraining import PretrainingRecord
from dnatune.report import page as report
from dnatune.report import panels
from dnatune.report.figures import style as palette
from dnatune.report.legends import LEGENDS
from report_pages import (
    downloads,
    evidence_of,
    outline,
    pair_sentences,
    render,
    section_of,
    words,
)
from searches import searched
from synthetic_results import PROMOTERS, SPLICE, Results

#: Without base models that were asked, there is nothing to say of contamination.
SECTIONS = [name for name in map(report.name_of, report.SECTIONS.values()) if name != "contamination"]


def facts_of(page: str) -> dict[str, str]:
    """Return {setting: values and whose they are} of how it was made."""
    section = page.split('id="how_it_was_made"')[1]
    rows = re.findall(r'<th scope="row">([^<]+)</th>\s*<td>(.*?)</td>', section, flags=re.DOTALL)
    return {html.unescape(key): words(cell) for key, cell in rows}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two tasks, three optimizers, two seeds, one of them diverged, one all diverged on one task; baselines."""
    made = Results(tmp_path_factory.mktemp("mixed"), (PROMOTERS, SPLICE), simulated=True)
    for task in ("prom_core_all", "splice"):
        for seed in (0, 1):
            made.add_run("adamw", seed, task=task, skill=1.3)
            made.add_run("sgd", seed, task=task, skill=0.5, diverged_at=17 if seed else None, learning_rate=0.25)
            made.add_run("rk4", seed, task=task, skill=1.0, diverged_at=9 if task == "splice" else None)
        for name, skill in {"majority": 0.0, "gc": 0.3, "kmers": 0.8}.items():
            made.add_baseline(name, skill, task)
    made.add_baseline("bayes", 1.9)
    return made


@pytest.fixture(scope="module")
def mixed_page(mixed):
    return render(mixed)


def test_sections_in_order_and_elements_nest(mixed_page):
    found = outline(mixed_page)
    # No pair of two seeds has an interval, so all sections are there but for the forest's figure.
    assert found.sections == SECTIONS
    assert len(found.ids) == len(set(found.ids)), "an id stands twice: clipping paths would clash"


def test_clipping_paths_are_found_in_their_own_figure(mixed_page):
    drawings = re.findall(r"<svg.*?</svg>", mixed_page, flags=re.DOTALL)
    # For each of two tasks every seed, cost, calibration, ROC, dev loss, loss and dev accuracy on two axes; profiles.
    assert len(drawings) >= 2 * 9
    assert any("clip-path" in drawing for drawing in drawings)
    for drawing in drawings:
        used = set(re.findall(r'"url\(#([^)]+)\)"', drawing))
        assert used <= set(re.findall(r'<clipPath id="([^"]+)"', drawing))


def test_nothing_is_fetched(mixed_page):
    found = outline(mixed_page)
    assert re.findall(r"<script[^>]*>", mixed_page) == ["<script>"]
    assert not found.tags & {"link", "img", "iframe", "object", "embed", "audio", "video", "form"}
    assert {target.partition(":")[0] for target in found.targets if not target.startswith("#")} == {"data"}
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import|@font-face|src=", mixed_page)
    assert {target[1:] for target in found.targets if target.startswith("#")} <= set(found.sections)


def test_the_policy_allows_the_page_s_own_script_alone(mixed_page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', mixed_page)[1]
    script = re.search(r"<script>(.*?)</script>", mixed_page, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert not re.search(r'\son[a-z]+="', mixed_page)


def test_the_tables_can_be_downloaded(mixed, mixed_page):
    _, rows = read(mixed)
    files = downloads(mixed_page)
    assert files["comparison.tsv"] == summary.comparison_text(rows)
    assert files["tests.tsv"] == tested.tests_text(verdict_rows(mixed))
    assert files["segments.tsv"] == segments.segments_text(evidence_of(mixed).segments)


def test_the_data_of_a_figure_are_what_it_shows(mixed, mixed_page):
    files = downloads(mixed_page)
    scores = pd.read_csv(io.StringIO(files["scores.tsv"]), sep="\t")
    group = read(mixed)[0][0]
    shown = scores[(scores["task"] == "prom_core_all") & (scores["optimizer"] == "adamw")]["mcc"]
    assert shown.tolist() == pytest.approx(group.values("mcc"), abs=1e-5)
    curves = pd.read_csv(io.StringIO(files["dev_loss.tsv"]), sep="\t")
    run = group.runs[1]
    mine = curves[(curves["task"] == "prom_core_all") & (curves["optimizer"] == "adamw") & (curves["seed"] == run.seed)]
    points = [(row["gradient_evaluations"], row["dev_loss"]) for row in run.log if "dev_loss" in row]
    assert mine["gradient_evaluations"].tolist() == [x for x, _ in points]
    assert mine["dev_loss"].tolist() == pytest.approx([y for _, y in points], rel=1e-4)
    assert {"dev_accuracy.tsv", "loss.tsv", "calibration.tsv", "roc.tsv", "cost.tsv", "profiles.tsv"} <= files.keys()


def test_there_is_a_sentence_and_a_row_for_each_pair(mixed, mixed_page):
    section = pair_sentences(mixed_page)
    text = words(section)
    pairs = pairs_of(mixed)
    assert len(pairs) == 6  # three pairs of each of two tasks
    shown = re.findall(r'<li class="\w+"><span class="word">\w+</span>\s*<p>(.*?)</p>', section, flags=re.DOTALL)
    rows = [row for row in verdict_rows(mixed) if row.headline]
    # Each task begins with the optimizers against its control.
    by_task = [[row for row in rows if row.tasks == (task,)] for task in mixed.tasks]
    expected = [sorted(part, key=lambda row: row.comparison != "control") for part in by_task]
    assert list(map(html.unescape, shown)) == [row.sentence for part in expected for row in part]
    numbers = mixed_page.split('id="differences"')[1].split("</section>")[0]
    named = re.findall(r'<th scope="row">(.*?)</th>', numbers, flags=re.DOTALL)
    assert list(map(words, named)) == [f"{pair.first} against {pair.second}" for pair in pairs]
    assert "sgd diverged with seed 1" in text


@pytest.fixture(scope="module")
def decided_page(tmp_path_factory):
    """Two methods far apart and one beside each over three seeds; the page and its pairs."""
    made = Results(tmp_path_factory.mktemp("decided"), items=2000)
    for seed in range(3):
        for name, skill in {"rk4": 2.0, "sgd": 1.95, "adamw": 0.5}.items():
            made.add_run(name, seed, skill=skill, steps=61 if name == "adamw" else 60)
    return render(made), pairs_of(made)


def test_decided_pairs_come_first_with_their_numbers(decided_page):
    page, pairs = decided_page
    outline(page)
    verdicts = re.findall(r'<li class="(\w+)">', pair_sentences(page))
    assert verdicts == ["better", "better", "inconclusive"]
    assert [pair.verdict for pair in pairs] == ["inconclusive", "better", "better"]
    table = words(page.split('id="differences"')[1].split("<tbody>")[1].split("</tbody>")[0])
    apart = pairs[1]
    numbers = f"better {apart.difference:+.3f} {apart.low:+.3f} to {apart.high:+.3f} < 0.001 < 0.001"
    assert f"rk4 against adamw not on equal terms {numbers}" in table
    assert table.count("not on equal terms") == 2


def test_an_interval_without_a_test_is_marked_as_approximate(tmp_path):
    made = Results(tmp_path, rare={"prom_core_all": 12})
    for seed in range(3):
        for name, skill in {"adamw": 3.0, "sgd": 0.1}.items():
            made.add_run(name, seed, skill=skill)
    page, (pair,) = render(made), pairs_of(made)
    table = words(page.split('id="differences"')[1].split("<tbody>")[1].split("</tbody>")[0])
    limits = f"{pair.low:+.3f} to {pair.high:+.3f}".replace("-", "\N{MINUS SIGN}")
    assert f"adamw against sgd inconclusive {pair.difference:+.3f} ≈ {limits} " in table
    assert table.count("≈") == 2  # of MCC and of AUROC


def test_estimates_over_seeds_stand_with_their_limits(decided_page):
    page, pairs = decided_page
    section = section_of(page, "differences")
    apart = pairs[1]
    assert apart.improvement_low < 0.5 < apart.improvement == apart.improvement_high == 1
    assert "P(first higher) + ½ P(tie)" in section
    assert f" 1.00 ({apart.improvement_low:.2f} to 1.00) " in section
    assert "{effect_size:+.2f} ({effect_size_low:+.2f} to {effect_size_high:+.2f})".format(**vars(apart)) in section
    # AUROC's difference comes with the interval of the verdict's method, the two others do not.
    assert "of Δ AUROC those of a new seed on new test items, of P(first higher) and the effect size those" in section


def test_the_number_of_seeds_needed_is_told_where_it_is_known(decided_page, mixed_page):
    page, pairs = decided_page
    open_pairs = [pair for pair in pairs if pair.verdict == "inconclusive"]
    assert (
        words(pair_sentences(page)).count("a difference of 0.01 in MCC among 3 comparisons with 80 % power")
        == len(open_pairs)
        == 1
    )
    assert "cannot be computed" not in words(mixed_page)


def test_divergence_is_told_with_step_loss_and_norm(mixed_page):
    text = words(mixed_page)
    assert "sgd diverged on prom_core_all with 1 of 2 seeds" in text
    assert "seed 1 at step 17, because the loss is not finite (loss not finite, gradient norm 8.12e+04)" in text
    assert "rk4 diverged on splice with 2 of 2 seeds" in text
    assert "rk4: every run diverged." in text
    assert "sgd (1 of 2 diverged)" in text  # in the figure
    assert "✕ rk4 diverged" in text


def test_leaderboard_is_ordered_by_mean_with_baselines_apart(mixed, mixed_page):
    _, rows = read(mixed)
    section = mixed_page.split('id="leaderboard"')[1]
    board = section.split('<table class="leaderboard sortable">')[1].split("</table>")[0]
    models, controls = board.split('<tbody class="baselines">')
    names = re.findall(r'<th scope="row">\s*([\w-]+)', models)
    means = {row["optimizer"]: row["mean"] for row in rows if row["task"] == "prom_core_all"}
    assert names == sorted(("adamw", "sgd", "rk4"), key=lambda name: -means[name])
    assert f"{means['adamw']:.3f}" in models
    assert re.findall(r'<th scope="row">([^<]+)', controls)[0] == "Bayes optimum"
    splice = section.split('<table class="leaderboard sortable">')[2]
    assert re.findall(r'<th scope="row">\s*([\w-]+)', splice)[2] == "rk4"  # without a mean, so last


def test_confusion_matrices_hold_the_sums_over_seeds(mixed, mixed_page):
    groups, _ = read(mixed)
    section = mixed_page.split('id="confusion"')[1].split("</section>")[0]
    counts = [int(cell) for cell in re.findall(r'<td style="[^"]*">(\d+)<span>', section)]
    expected = [pooled_predictions.confusion_of(group)[:, :-1].ravel() for group in groups if group.completed]
    # Groups stand in the page by task, as they were added.
    assert counts == np.concatenate(expected).tolist()


def test_every_figure_has_the_words_of_its_legend(mixed):
    choices = [searched(name, [0.6, 0.4, 0.5], task=task) for task in mixed.tasks for name in ("adamw", "sgd", "rk4")]
    made = report.page(evidence_of(mixed, choices=choices))
    text = words(made.html)
    # No pair of two seeds has an interval, so the forest is empty.
    assert made.figures.keys() == LEGENDS.keys()
    for name, legend in LEGENDS.items():
        assert (f"{legend.reading} {legend.shows}" in text) is (name != "forest"), name


def test_how_it_was_made_says_once_what_all_share_and_who_differs(mixed_page):
    section = mixed_page.split('id="how_it_was_made"')[1]
    facts = facts_of(mixed_page)
    assert facts["lora.rank"] == "8"
    assert facts["optimizer.learning_rate"] == "0.001 adamw, rk4 0.25 sgd"
    assert facts["task.instruction"] == "Is it one? prom_core_all Which is it? splice"
    assert facts["trainable parameters"].endswith("(22.1 % of all)")
    assert facts["lora.target_modules"] == "q_proj, v_proj"
    assert facts["batch as it was cut"] == "128: micro-batches of 16, 4 accumulated on each of 2 ranks"
    assert facts["git commit"] == "f" * 40
    assert facts["code"] == "aaaa"
    assert facts["training.packing"] == "yes"
    stages = re.findall(r'<h3 class="kicker">(\w+)</h3>', section)
    assert stages == ["download", "prepare", "finetune", "evaluate", "software", "reproduce"]
    assert "snakemake --cores all --configfile configuration.yaml" in words(section)
    assert facts["test items"] == "600"
    assert facts["device"] == "cpu, Processor 9000"


def test_how_it_was_made_names_the_source_and_the_revision_of_models_and_data(tmp_path):
    made = Results(tmp_path, (PROMOTERS, SPLICE))
    for task in ("prom_core_all", "splice"):
        for model in ("fetched", "tiny"):
            made.add_run("adamw", task=task, model=model)
    made.add_origin("models", "fetched", "hub", "lab/model", "main", "1" * 40)
    made.add_origin("data", "prom_core_all", "hub", "lab/GUE", "2" * 40, "2" * 40)
    made.add_origin("data", "splice", "directory", "/data/own")
    facts = facts_of(render(made))
    none = "none: only a repository of the hub has one"
    assert facts["base model"] == "model hub: lab/model fetched made here: dnatune.model.sources.make_tiny tiny"
    assert facts["revision of the base model"] == f"main, which meant commit {'1' * 40} fetched {none} tiny"
    assert facts["data"] == "model hub: lab/GUE prom_core_all folder: /data/own splice"
    assert facts["revision of the data"] == f"{'2' * 40} prom_core_all {none} splice"
    digests = [manifests.read([], made.data, list(made.tasks)).data[task].manifest.digest for task in made.tasks]
    assert facts["digest of the data"] == f"{digests[0]} prom_core_all {digests[1]} splice"
    assert digests[0] != digests[1]


def test_how_it_was_made_says_what_the_base_model_was_pretrained_on(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", model="tiny")
    folder = made.add_origin("models", "tiny", "tiny", "dnatune.model.pretraining.pretrain").parent
    PretrainingRecord(
        tasks=["mouse_0", "mouse_1"],
        sequences=345,
        left_out={"prom_core_all": 7},
        related_test_items={"prom_core_all": 0},
        steps=400,
        loss=1.2,
        seconds=9.0,
    ).write(folder / "pretraining.json")
    assert facts_of(render(made))["pretraining of the base model"] == (
        "400 steps on 345 sequences of mouse_0, mouse_1, with random labels; 7 left out as relatives of test items; "
        "test items with a relative among the others: 0"
    )


def test_data_of_several_commits_are_not_promised_again(tmp_path):
    made = Results(tmp_path, (PROMOTERS, SPLICE))
    for task in ("prom_core_all", "splice"):
        made.add_run("adamw", task=task)
        made.add_origin("data", task, "hub", "lab/GUE", "main", "1" * 40)
    assert "This command reproduces these results" in section_of(render(made), "how_it_was_made")
    made.add_origin("data", "splice", "hub", "lab/GUE", "main", "2" * 40)
    section = section_of(render(made), "how_it_was_made")
    assert "This command finds that nothing is missing. Made elsewhere, the results may differ: the data" in section
    assert "2 commits of their repository" in section
    assert "anew" not in section


def test_every_colour_of_a_figure_has_a_twin_on_dark_screens(mixed_page):
    colours = set()
    for drawing in re.findall(r"<svg.*?</svg>", mixed_page, flags=re.DOTALL):
        colours |= {value for value in re.findall(r'(?:fill|stroke)="([^"]+)"', drawing) if value != "none"}
    style = mixed_page.split("<style>")[1].split("</style>")[0]
    dark = style.rsplit("prefers-color-scheme: dark", 1)[1]
    colours.discard("transparent")
    assert len(colours) >= 5
    for colour in {*colours, *palette.COLOURS}:
        assert f'[fill="{colour}"]' in dark, colour
        assert f'[stroke="{colour}"]' in dark, colour


def test_the_same_results_give_the_same_page(mixed, mixed_page):
    assert render(mixed) == mixed_page


def test_the_file_of_a_figure_is_a_vector_image_with_a_panel_for_each_task(mixed):
    figure = report.page(evidence_of(mixed)).figures["loss"]
    assert figure.startswith("<svg xmlns=")
    assert "prom_core_all, against gradient evaluations" in figure
    assert "splice, against gradient evaluations" in figure
    assert "<image" not in figure


def test_several_tasks_are_summed_up_without_those_that_lack_a_score(mixed_page):
    section = section_of(mixed_page, "all_tasks")
    head = "There is no interval if a task has fewer than 3 completed seeds:"
    assert f"{head} adamw (prom_core_all, splice); sgd (" in section
    assert "percentile bootstrap" not in section
    assert "Left out, because they have no score on some task: rk4." in section
    names = re.findall(r'<th scope="row">(\w+)', mixed_page.split('id="all_tasks"')[1].split("</section>")[0])
    assert names == ["adamw", "sgd"]


def test_one_task_has_no_summary_over_tasks(decided_page):
    assert 'id="all_tasks"' not in decided_page[0]


def test_long_data_of_a_figure_are_compressed(mixed_page, monkeypatch, mixed):
    """The losses of a hundred runs were half of a page."""
    monkeypatch.setattr(panels, "_LONGEST", 1000)
    short, long = downloads(mixed_page), downloads(render(mixed))
    assert "loss.tsv.gz" in long and "loss.tsv" not in long
    assert long["loss.tsv.gz"] == short["loss.tsv"]
