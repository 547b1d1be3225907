"""The page: whole, self-contained, well-formed, honest in its words, small enough."""

import base64
import hashlib
import html
import html.parser
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_results import PROMOTERS, SPLICE, Results
from test_comparison import pairs_of, read
from test_controls import FOUND
from test_tuning import searched

from dnatune import answers, comparison, controls, figures, pairs, palette, report, segments, tuning
from dnatune.report import controls as of_controls
from dnatune.report import words as in_words

#: Without base models that were asked, there is nothing to say of what they have seen.
SECTIONS = [section.name for section in report.SECTIONS if section.name != "contamination"]
REPORT = Path(__file__).resolve().parents[2] / "workflow" / "report"
VOID = {"meta", "br", "hr", "img", "link", "input"}


def evidence_of(
    results: Results,
    contaminations: Sequence[Mapping[str, Any]] = (),
    choices: Sequence[Mapping[str, Any]] = (),
    zero_shots: Sequence[controls.ZeroShot] = (),
    published: Sequence[controls.Published] = (),
) -> report.Evidence:
    groups, rows = read(results)
    baselines = [comparison.read_baseline(folder, results.tasks) for folder in results.baselines]
    audits = comparison.read_audits(results.audits, results.tasks)
    scored = segments.segment_rows(
        groups, results.tasks, segments.read_segments(results.records, results.tasks, audits)
    )
    making = ({"scipy": "1.0"}, "snakemake --cores all --configfile configuration.yaml")
    tests = pairs_of(results)
    rows += controls.control_rows(zero_shots, published, results.tasks)
    return report.Evidence(
        *(results.settings, results.tasks, groups, baselines, rows, tests, audits, scored, *making),
        *(choices, zero_shots, published, contaminations),
    )


def render(results: Results, *contaminations: Mapping[str, Any], **others: Sequence[Any]) -> str:
    return report.page(evidence_of(results, contaminations, **others)).html


def base_of(results: Results, skill: float = 0.2) -> controls.ZeroShot:
    """Return a base model without fine-tuning, by what it answers to the first task."""
    results.add_baseline("zero-shot", skill)
    metrics = comparison.read_baseline(results.baselines.pop(), results.tasks).metrics
    return controls.ZeroShot("tiny", "prom_core_all", metrics)


def words(page: str) -> str:
    """Return the text of a page without tags, every run of white space one space."""
    text = re.sub(r"<style>.*?</style>|<script>.*?</script>|<[^>]+>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(text).split())


class Outline(html.parser.HTMLParser):
    """Checks that elements nest, and collects what the tests ask about."""

    def __init__(self):
        super().__init__()
        self.open, self.sections, self.ids, self.tags, self.targets = [], [], [], set(), []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        self.targets += [attributes[key] for key in ("href", "src", "xlink:href", "action") if key in attributes]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "section":
            self.sections.append(attributes["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()} closes another element"


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


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
    assert all(target.startswith(("#", "data:")) for target in found.targets)
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import|@font-face|src=", mixed_page)
    assert {target[1:] for target in found.targets if target.startswith("#")} <= set(found.sections)


def test_the_policy_allows_the_page_s_own_script_alone(mixed_page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', mixed_page)[1]
    script = re.search(r"<script>(.*?)</script>", mixed_page, flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert not re.search(r'\son[a-z]+="', mixed_page)


def downloads(page: str) -> dict[str, str]:
    """Return the text of every table that a page holds, by the name it is saved under."""
    found = re.findall(r'download="([^"]+)" href="data:text/tab-separated-values;charset=utf-8;base64,([^"]+)"', page)
    return {name: base64.b64decode(payload).decode() for name, payload in found}


def test_the_tables_can_be_downloaded(mixed, mixed_page):
    _, rows = read(mixed)
    files = downloads(mixed_page)
    assert files["comparison.tsv"] == comparison.comparison_text(rows)
    assert files["tests.tsv"] == pairs.tests_text(pairs_of(mixed))
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


def verdict_section(page: str) -> str:
    return page.split('id="verdict"')[1].split("</section>")[0]


def test_the_page_begins_with_a_sentence_and_a_row_for_each_pair(mixed, mixed_page):
    section = verdict_section(mixed_page)
    text = words(section)
    pairs = pairs_of(mixed)
    assert len(pairs) == 6  # three pairs of each of two tasks
    shown = re.findall(r'<li class="\w+"><span class="word">\w+</span>\s*<p>(.*?)</p>', section, flags=re.DOTALL)
    assert list(map(html.unescape, shown)) == [pair["sentence"] for pair in pairs]
    numbers = mixed_page.split('id="differences"')[1].split("</section>")[0]
    named = re.findall(r'<th scope="row">(.*?)</th>', numbers, flags=re.DOTALL)
    assert list(map(words, named)) == [f"{pair['first']} against {pair['second']}" for pair in pairs]
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
    verdicts = re.findall(r'<li class="(\w+)">', verdict_section(page))
    assert verdicts == ["better", "better", "inconclusive"]
    assert [pair["verdict"] for pair in pairs] == ["inconclusive", "better", "better"]
    table = words(page.split('id="differences"')[1].split("<tbody>")[1].split("</tbody>")[0])
    apart = pairs[1]
    numbers = f"better {apart['difference']:+.3f} {apart['low']:+.3f} to {apart['high']:+.3f} < 0.001 < 0.001"
    assert f"rk4 against adamw not at equal terms {numbers}" in table
    assert table.count("not at equal terms") == 2


def section_of(page: str, name: str) -> str:
    """Return the text of one section."""
    return words(page.split(f'id="{name}"')[1].split("</section>")[0])


def test_the_forest_s_colours_are_said_to_be_those_of_the_verdicts(decided_page):
    caption = section_of(decided_page[0], "differences")
    about = (REPORT / "figures.rst").read_text("utf-8")
    for text in (caption, about):
        assert "A blue interval is a difference; a grey one is undecided even where it misses 0" in text
        assert "not adjusted for the number of pairs" in text
        assert "does not touch the line at 0" not in text


def test_estimates_over_seeds_stand_with_their_limits(decided_page):
    page, pairs = decided_page
    section = section_of(page, "differences")
    apart = pairs[1]
    assert apart["improvement_low"] < 0.5 < apart["improvement"] == apart["improvement_high"] == 1
    assert "P(first higher) + ½ P(tie)" in section
    assert f" 1.00 ({apart['improvement_low']:.2f} to 1.00) " in section
    assert "{effect_size:+.2f} ({effect_size_low:+.2f} to {effect_size_high:+.2f})".format(**apart) in section


def test_estimates_have_two_digits():
    assert (in_words.two(None), in_words.span(None, None)) == ("", "")
    assert in_words.two(-1.234, "+") == "\N{MINUS SIGN}1.23"
    assert in_words.span(-0.25, 1) == "\N{MINUS SIGN}0.25 to 1.00"


@pytest.mark.parametrize(("level", "text"), [(0.999, "99.9 %"), (0.975, "97.5 %"), (0.9, "90 %")])
def test_a_level_is_not_rounded_away(tmp_path, level, text):
    made = Results(tmp_path, (PROMOTERS, SPLICE), items=200)
    made.settings["comparison"]["level"] = level
    for seed in range(3):
        for task in made.tasks:
            made.add_run("adamw", seed, task=task, skill=2.0)
            made.add_run("sgd", seed, task=task, skill=0.5)
    page = render(made)
    assert f"{text} interval" in section_of(page, "differences")
    assert f"({text}, percentile bootstrap" in section_of(page, "tasks")


def test_the_number_of_seeds_needed_is_told_where_it_is_known(decided_page, mixed_page):
    page, pairs = decided_page
    open_pairs = [pair for pair in pairs if pair["verdict"] == "inconclusive"]
    assert words(verdict_section(page)).count("a difference of 0.01 in mcc with 80 % power") == len(open_pairs) == 1
    assert "cannot be computed" not in words(mixed_page)


def test_one_optimizer_has_no_verdict(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw")
    page = render(made)
    outline(page)
    section = verdict_section(page)
    assert "One optimizer: there is no pair to compare." in words(section)
    assert "tests.tsv" not in page
    assert 'id="differences"' not in page


def test_text_from_outside_is_escaped(tmp_path):
    attack = '<script>alert("x")</script>'
    task = {**PROMOTERS, "labels": ["no", attack], "instruction": f"{attack} & more"}
    made = Results(tmp_path, (task,))
    made.settings["name"] = attack
    made.add_run("a<b&c")
    page = render(made)
    outline(page)
    assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in page
    assert "a&lt;b&amp;c" in page
    assert "<script" not in figures.loss_figure(read(made)[0])


def test_headline_names_the_best_the_next_the_baselines_and_the_ceiling(mixed, mixed_page):
    _, rows = read(mixed)
    mean = {(row["task"], row["optimizer"]): row["mean"] for row in rows}
    core = "prom_core_all"
    text = words(mixed_page.split('id="headline"')[1].split("</section>")[0])
    best, second = mean[core, "adamw"], mean[core, "rk4"]
    assert f"adamw has the highest mean MCC of 3 compared, {best:.3f} (2 seeds, " in text
    assert f"next is rk4, {best - second:.3f} lower at {second:.3f}" in text
    assert f"k-mers ({mean[core, 'kmers']:.3f})" in text
    assert f"reached {100 * best / mean[core, 'bayes']:.0f} % of it" in text
    assert text.count("Bayes optimum") == 1  # there is none for the second task
    assert "The order here is that of the means." in text
    assert "simulated" in text


@pytest.mark.parametrize(
    ("skill", "phrase"),
    [(2.0, "adamw is above the baselines GC content"), (0.4, "but not above the baseline k-mers")],
)
def test_headline_says_which_baselines_are_beaten(tmp_path, skill, phrase):
    made = Results(tmp_path)
    made.add_run("adamw", skill=skill)
    made.add_baseline("gc", 0.1)
    made.add_baseline("kmers", 1.0)
    text = words(render(made))
    assert phrase in text
    assert "adamw reached a mean MCC of" in text
    assert "1 seed, so the spread is unknown" in text


def test_equal_means_are_not_ranked(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw")
    made.add_run("sgd")
    for name in ("metrics.json", "predictions.tsv"):
        (made.evaluations[1] / name).write_text((made.evaluations[0] / name).read_text())
    assert "adamw and sgd share the highest mean MCC" in words(render(made))


def test_divergence_is_told_with_step_loss_and_norm(mixed_page):
    text = words(mixed_page)
    assert "sgd diverged on prom_core_all with 1 of 2 seeds" in text
    assert "seed 1 at step 17, because the loss is not finite (loss not finite, gradient norm 8.12e+04)" in text
    assert "rk4 diverged on splice with 2 of 2 seeds" in text
    assert "rk4: every run diverged." in text
    assert "sgd (1 of 2 diverged)" in text  # in the figure
    assert "✕ rk4 diverged" in text


def test_a_task_where_all_diverged(tmp_path):
    made = Results(tmp_path)
    made.add_run("sgd", diverged_at=5)
    made.add_baseline("gc", 0.3)
    page = render(made)
    outline(page)
    assert "Every run diverged, so there is no model to compare." in words(page)
    assert "highest mean" not in words(page)


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        ({}, None),
        (
            {"steps": 61},
            "Not on equal terms on prom_core_all: the runs took different numbers of gradient evaluations.",
        ),
        ({"batch": 64}, "Not on equal terms on prom_core_all: the runs used different batch sizes."),
        ({"code": "b"}, "Not on equal terms: the runs were made by different versions of dnatune's code."),
    ],
)
def test_flags_are_said_in_words(tmp_path, difference, sentence):
    made = Results(tmp_path)
    made.add_run("adamw")
    made.add_run("sgd", **difference)
    text = words(render(made))
    if sentence is None:
        assert "Not on equal terms" not in text
        assert "Each run took 60 gradient evaluations over batches of 128 examples." in text
    else:
        assert text.count(sentence) == 1


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
    expected = [answers.confusion_of(group)[:, :-1].ravel() for group in groups if group.completed]
    # Groups stand in the page by task, as they were added.
    assert counts == np.concatenate(expected).tolist()


def test_answers_decoded_freely(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", generate=True, dev=False)
    page = render(made)
    outline(page)
    text = words(page)
    assert "No log-probabilities" in text
    assert "No run recorded a dev loss." in text
    assert "decoded freely" in text
    assert ">no label</th>" in page


def test_a_test_split_too_small_for_a_bin_is_not_said_to_lack_probabilities(tmp_path):
    made = Results(tmp_path, items=8)
    made.add_run("adamw")
    section = section_of(render(made), "calibration")
    assert "Too few test items: no bin has 10 of them" in section
    assert "No log-probabilities" not in section
    lost = Results(tmp_path / "lost")
    lost.add_run("sgd", diverged_at=9)
    assert "No log-probabilities: every run diverged." in section_of(render(lost), "calibration")


def test_dashed_lines_are_called_what_they_are(tmp_path):
    made = Results(tmp_path, items=200, simulated=True)
    made.add_run("adamw")
    assert "Dashed lines" not in words(render(made))
    assert "The Bayes optimum is the ceiling." not in words(render(made))
    figure = controls.Published("prom_core_all", "CNN", {"mcc": 0.6}, "somewhere")
    of_others = {"zero_shots": [base_of(made)], "published": [figure]}
    text = section_of(render(made, **of_others), "seeds")
    assert "Dashed lines are the base model without fine-tuning and the best published figure, named at" in text
    # A figure in another metric than the task's is no line.
    other = controls.Published("prom_core_all", "CNN", {"accuracy": 0.8}, "somewhere")
    made.add_baseline("bayes", 1.9)
    text = section_of(render(made, **of_others | {"published": [other]}), "seeds")
    assert "Dashed lines are baselines and the base model without fine-tuning, named at" in text
    assert "The Bayes optimum is the ceiling." in text
    assert "Dashed lines are baselines, named at" in section_of(render(made), "seeds")


def test_the_sign_that_the_training_split_raises_alone_does_not_accuse_of_test_items(tmp_path):
    made = Results(tmp_path, items=200)
    made.add_run("adamw")
    page = render(made, {**FOUND, "signs": ["as_good_as_trained"], "in_manifest": []})
    assert "+0.300 0.001 60 0 " in section_of(page, "contamination")  # gap, its p, items, items in the manifest
    for name in ("headline", "contamination"):
        text = section_of(page, name)
        assert "tiny has probably been trained on prom_core_all, its test items perhaps among it." in text
        assert "has probably seen" not in text
    assert '<span class="badge">trained on the task</span>' in page
    assert '<span class="badge">seen before</span>' not in page
    other = render(made, {**FOUND, "signs": ["as_good_as_trained", "knows_the_items"]})
    assert '<span class="badge">seen before</span>' in other
    assert "tiny has probably seen test items of prom_core_all before." in section_of(other, "headline")


@pytest.mark.parametrize(
    ("sign", "otherwise"),
    [
        (
            "as_good_as_trained",
            "trained on the task's training split, or on the same sequences from another source, can.",
        ),
        ("knows_the_items", "a trained model that depends on single bases far more than k-mers do would lose as much."),
        ("better_than_on_dev", "splits that differ in a way that k-mers do not see would show the same."),
        ("in_manifest", "nothing else could put them there."),
    ],
)
def test_every_reason_ends_with_what_else_could_raise_it(sign, otherwise):
    (reason,) = of_controls.reasons({**FOUND, "signs": [sign]})
    assert reason.endswith(otherwise)
    assert "it has seen the former" not in reason


def test_the_trials_are_figures_with_a_caption_and_their_data(tmp_path):
    made = Results(tmp_path, items=200)
    for name in ("adamw", "rk4"):
        made.add_run(name)
    choices = [searched("adamw", [0.6, 0.4, 0.5]), searched("rk4", [0.5, 0.3, None], stages=4)]
    made_page = report.page(evidence_of(made, choices=choices))
    outline(made_page.html)
    section = made_page.html.split('id="tuning"')[1].split("</section>")[0]
    assert section.count("<figure") == section.count("<svg") == 2
    assert len(re.findall(r"<figcaption>\s*<strong>", section)) == 2
    files = downloads(made_page.html)
    assert {"trials.tsv", "expected.tsv", "tuning.tsv"} <= files.keys()
    expected = pd.read_csv(io.StringIO(files["expected.tsv"]), sep="\t")
    assert expected["expected_best_dev_loss"].tolist() == pytest.approx(
        [row["score"] for row in tuning.expected_curves(choices)], rel=1e-4
    )
    assert {"trials", "expected"} <= made_page.figures.keys()
    assert "10 with adamw; 40 with rk4" in words(section)
    lost = render(made, choices=[searched("adamw", [None, None]), searched("rk4", [None, None])])
    assert "Every trial diverged, so there is no score." in section_of(lost, "tuning")


def test_every_figure_of_the_page_has_a_caption_for_the_report_of_snakemake(mixed):
    about = (REPORT / "figures.rst").read_text("utf-8")
    choices = [searched(name, [0.6, 0.4, 0.5], task=task) for task in mixed.tasks for name in ("adamw", "sgd", "rk4")]
    for name in report.page(evidence_of(mixed, choices=choices)).figures:
        assert f'"{name}": "' in about


def test_how_it_was_made_says_once_what_all_share_and_who_differs(mixed_page):
    section = mixed_page.split('id="made"')[1]
    facts = {
        html.unescape(key): words(cell)
        for key, cell in re.findall(r'<th scope="row">([^<]+)</th>\s*<td>(.*?)</td>', section, flags=re.DOTALL)
    }
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
    assert stages == ["download", "prepare", "finetune", "evaluate", "software", "again"]
    assert "snakemake --cores all --configfile configuration.yaml" in words(section)
    assert facts["test items"] == "600"


def test_several_models_are_told_apart(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", model="small", skill=0.5)
    made.add_run("adamw", model="large", skill=1.5)
    text = words(render(made))
    assert "adamw on large has the highest mean MCC of 2 compared" in text
    assert "prom_core_all, small" in text


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


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_stand_out_from_paper_and_dark_screen():
    # 2.2 is what Okabe and Ito's orange has on white; shapes, dashes and labels carry what colour does not.
    assert all(contrast(colour, "#fdfdfc") > 2.2 for colour in palette.COLOURS)
    assert all(contrast(palette.DARK[colour], "#15181b") > 4.5 for colour in palette.COLOURS)
    for text in (palette.INK, palette.MUTED):
        assert contrast(text, "#fdfdfc") > 4.4
        assert contrast(palette.DARK[text], "#15181b") > 4.5
    assert len(set(palette.COLOURS)) == len(set(palette.SHAPES)) == len(set(palette.DASHES)) == len(palette.COLOURS)


def test_the_same_results_give_the_same_page(mixed, mixed_page):
    assert render(mixed) == mixed_page


def test_thirty_long_runs_stay_small(tmp_path):
    made = Results(tmp_path, items=400)
    for optimizer in ("adamw", "sgd", "rk4", "rkc", "rk4_adam", "rk4_single_gradient"):
        for seed in range(5):
            made.add_run(optimizer, seed, steps=2000)
    page = render(made)
    assert len(page.encode()) < 5_000_000
    curves = [re.findall(r"[ML]", path) for path in re.findall(r'<path d="([^"]+)"', page)]
    longest = max(map(len, curves))
    assert 200 <= longest <= figures.MOST_POINTS
    assert str(figures.MOST_POINTS) in words(page)


def test_thinning_keeps_every_spike():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5000)
    values[[17, 2500, 4999]] = [50, -50, 60]
    curve = pd.DataFrame({"x": np.arange(5000.0), "value": values})
    thin = figures.thinned(curve)
    assert 200 <= len(thin) <= figures.MOST_POINTS
    assert {50, -50, 60} <= set(thin["value"])
    assert thin["x"].is_monotonic_increasing
    short = curve.head(figures.MOST_POINTS)
    assert figures.thinned(short) is short


def test_more_optimizers_than_colours(tmp_path):
    made = Results(tmp_path, items=50)
    for number in range(9):
        made.add_run(f"method{number}")
    groups, _ = read(made)
    looks = figures.palette(groups)
    assert len(looks) == 9
    outline(render(made))


def test_loss_figure_is_a_vector_image_with_a_panel_for_each_task(mixed):
    figure = figures.loss_figure(read(mixed)[0])
    assert figure.startswith("<svg xmlns=")
    assert "prom_core_all, tiny" in figure
    assert "splice, tiny" in figure
    assert "<image" not in figure


def test_a_log_without_any_loss_leaves_words_in_place_of_a_figure(tmp_path):
    made = Results(tmp_path)
    made.add_run("sgd", diverged_at=1)
    assert "No run recorded a loss." in words(render(made))
    assert "No run recorded a loss." in figures.loss_figure(read(made)[0])


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (41.96, "42 s"), (60, "1 min"), (3599, "1 h 00 min"), (7260, "2 h 01 min")]
)
def test_durations(seconds, text):
    assert in_words.duration(seconds) == text


def test_the_audit_says_what_leaked_and_what_the_scores_are_without_it(tmp_path):
    results = Results(tmp_path / "results")
    for seed in (0, 1):
        results.add_run("adamw", seed, skill=1.2)
    assert "No test item is known to be in an earlier split." in words(render(results))
    results.add_audit(leaked=[3, 4, 7])
    page = render(results)
    outline(page)
    said = words(page.split('<section id="audit">')[1].split("</section>")[0])
    assert "3 test items are, or nearly are, in an earlier split; they were kept." in said
    assert "of test in train 3 0 3" in said
    _, rows = read(results)
    assert f"adamw {rows[0]['mean']:.3f} {rows[0]['mean_without_leaked']:.3f}" in said


def test_one_seed_has_no_spread_no_interval_and_no_forest(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw")
    made.add_run("sgd", skill=0.3)
    page = render(made)
    outline(page)
    text = words(page)
    assert "1 seed, so the spread is unknown" in text
    assert pairs_of(made)[0]["withheld"]
    assert "No pair has an interval" in text
    assert "forest.tsv" not in downloads(page)


def test_a_missing_run_is_told(tmp_path):
    made = Results(tmp_path, items=2000)
    for seed in range(4):
        made.add_run("adamw", seed, skill=1.5)
        if seed != 2:
            made.add_run("sgd", seed, skill=0.5)
    text = words(render(made))
    assert "sgd has no run with seed 2" in text
    assert "adamw is better than sgd" in text


def test_constant_predictions_are_told_and_not_tested(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed, skill=1.5)
        made.add_run("sgd", seed, constant=True)
    text = words(verdict_section(render(made)))
    assert "inconclusive" in text
    assert "sgd answers every item alike with seeds 0, 1, 2" in text


def test_a_test_split_of_one_class_has_no_roc_and_empty_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(Results, "truth", lambda self, task: np.ones(self.items, dtype=int))
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed)
        made.add_run("sgd", seed, skill=0.5)
    page = render(made)
    outline(page)
    assert "No ROC: the answers were decoded freely, every run diverged, or the test split lacks a class." in words(
        page
    )
    assert "One class: every test item of prom_core_all is of class promoter" in words(page)
    _, rows = read(made)
    assert rows[0]["auroc"] is None


def test_several_tasks_are_summed_up_without_those_that_lack_a_score(mixed_page):
    section = section_of(mixed_page, "tasks")
    assert "No interval where a task has fewer than 3 completed seeds: adamw (prom_core_all, splice); sgd (" in section
    assert "percentile bootstrap" not in section
    assert "Left out, because a task has no score of theirs: rk4." in section
    names = re.findall(r'<th scope="row">(\w+)', mixed_page.split('id="tasks"')[1].split("</section>")[0])
    assert names == ["adamw", "sgd"]


def test_diverged_runs_are_named_over_all_tasks_and_lower_the_profile(tmp_path):
    made = Results(tmp_path, (PROMOTERS, SPLICE), items=200)
    for task in made.tasks:
        for seed in range(3):
            made.add_run("adamw", seed, task=task, skill=1.0)
            lost = 17 if (task, seed) == ("splice", 1) else None
            made.add_run("sgd", seed, task=task, skill=2.0, diverged_at=lost)
    page = render(made)
    section = section_of(page, "tasks")
    assert "all completed runs of the 2 tasks" in section
    assert "mean and rank flatter an optimizer that lost some" in section
    rows = re.search(r"mean rank diverged (sgd .*) (adamw [^A-Z]*)", section)
    assert re.search(r"sgd \S+ withheld \S+ 1 of 6", rows[1])
    assert re.search(r"adamw \S+ \S+ to \S+ \S+ 0 of 6", rows[2])
    assert "No interval where a task has fewer than 3 completed seeds: sgd (splice)." in section
    assert "percentile bootstrap" in section  # of the row that has one
    profiles = pd.read_csv(io.StringIO(downloads(page)["profiles.tsv"]), sep="\t")
    # The file has five digits.
    highest = profiles.groupby("optimizer")["share"].max().to_dict()
    assert highest == pytest.approx({"adamw": 1, "sgd": 5 / 6}, abs=1e-5)


def test_one_task_has_no_summary_over_tasks(decided_page):
    assert 'id="tasks"' not in decided_page[0]


def test_cost_counts_every_run_and_gpu_hours_only_where_there_are_some(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", steps=100, gpu=True)
    made.add_run("rk4", steps=25, stages=4, gpu=True)
    section = words(render(made).split('id="cost"')[1].split("</section>")[0])
    # 70 s each, on two GPUs each.
    assert "All 2 runs together trained for 2 min of wall time and 0.0778 GPU-hours." in section
    assert "adamw 1 min 0.0389 100 0.7 s" in section
    assert "against GPU-hours" in words(render(made))
    plain = Results(tmp_path / "cpu")
    plain.add_run("adamw")
    text = words(render(plain))
    assert "on CPUs" in text
    assert "No run used a GPU, so there are no GPU-hours." in text


def test_very_many_runs_get_fewer_points():
    assert figures.points_each([]) == figures.MOST_POINTS

    class Many:
        runs = range(840)

    assert figures.points_each([Many()]) == 47
