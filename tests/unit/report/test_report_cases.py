"""The page where results are not the usual ones: few or lost runs, unlike terms, odd data, signs, trials, many runs."""

import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest

from compared_results import pairs_of, read
from contamination_found import known_base
from dnatune.comparison import learning_rates
from dnatune.report import formatting as in_words
from dnatune.report import page as report
from dnatune.report.figures import base, style
from dnatune.report.figures import training as curves
from dnatune.report.sections import contamination as of_contamination
from dnatune.settings.scoring import Comparison
from dnatune.training.record import Run
from report_pages import downloads, evidence_of, outline, pair_sentences, render, section_of, words
from searches import FLOOR, chosen, searched, trial
from synthetic_results import PROMOTERS, SPLICE, Results


def test_estimates_have_two_digits():
    assert (in_words.two(None), in_words.span(None, None)) == ("", "")
    assert in_words.two(-1.234, "+") == "\N{MINUS SIGN}1.23"
    assert in_words.span(-0.25, 1) == "\N{MINUS SIGN}0.25 to 1.00"


@pytest.mark.parametrize(("related", "said"), [(30, False), (36, True)])
def test_the_headline_warns_if_training_has_relatives_of_many_test_items(tmp_path, related, said):
    made = Results(tmp_path, items=600)
    made.add_run("adamw")
    made.audits = [made.add_audit(twins=range(related))]
    page = render(made)
    assert ("Memory: 6 % of the test items of prom_core_all have a twin" in section_of(page, "answer")) is said
    assert f"{related} test items ({related // 6} %) have a twin in training" in section_of(page, "audit")


SPLIT = {
    "by": "clusters",
    "made": ["dev", "test"],
    "seed": 4,
    "groups": 612,
    "largest": 17,
    "chromosomes": {},
    "classes": {
        "train": {"Non-promoter": 1240, "promoter": 250},
        "dev": {"Non-promoter": 31, "promoter": 32},
        "test": {"Non-promoter": 33, "promoter": 34},
    },
}
BY_CHROMOSOME = {"train": ["chr1", "chr2"], "dev": ["chr8"], "test": ["chr9", "chrX"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "dev and test were made of them with seed 4, so that none of 612 clusters of similar sequences"),
        ({"made": ["dev"]}, "dev was made of them with seed 4"),
        (
            {"by": "chromosomes", "seed": None, "chromosomes": BY_CHROMOSOME},
            "dev and test were made of them by chromosome: dev is chr8; test is chr9, chrX.",
        ),
        ({"by": "random", "groups": None}, "were drawn from them at random within each class, with seed 4."),
        ({"by": None, "made": [], "seed": None}, "Each was in its split already."),
    ],
)
def test_the_audit_says_how_files_of_one_s_own_were_split(tmp_path, changes, said):
    made = Results(tmp_path, items=100)
    made.add_run("adamw")
    made.data = [made.add_origin("data", "prom_core_all", "files", "yes.fa, no.fa", split={**SPLIT, **changes})]
    audit = section_of(render(made), "audit")
    assert "The examples come from yes.fa, no.fa." in audit
    assert said in audit
    assert "train 1 240 250 dev 31 32 test 33 34" in audit


def test_a_baseline_that_does_not_apply_says_why_in_the_table(tmp_path):
    made = Results(tmp_path, items=100)
    made.add_run("adamw")
    made.add_baseline("kmers", 0.5)
    made.add_baseline_that_does_not_apply("onehot", "sequences are 60 to 70 bases long")
    page = render(made)
    reason = "base at each place not applicable: sequences are 60 to 70 bases long"
    assert reason in section_of(page, "leaderboard")
    assert "base at each place" not in section_of(page, "answer")


def test_merged_models_that_are_not_what_was_trained_are_told(tmp_path):
    made = Results(tmp_path, items=100)
    made.add_run("adamw", 0)
    made.add_run("adamw", 1, update_kept=0.75)
    assert (
        "Rounding to bf16 changed what was trained in 1 merged model. It changed most in"
        " tiny/prom_core_all/adamw/seed1, which keeps 0.750 of the update with an error of 0.100 and gives 25 of 100"
        " items another label."
    ) in words(render(made))
    whole = Results(tmp_path / "whole", items=100)
    whole.add_run("adamw", 0)
    assert "Rounding to" not in words(render(whole))


def test_a_tokenizer_that_does_not_know_the_prompts_is_told(tmp_path):
    made = Results(tmp_path, items=100)
    made.add_run("adamw", 0)
    assert "Unknown tokens" not in words(render(made))
    record = made.run_records[-1]
    Run.read(record).model_copy(update={"unknown_tokens": 134 / 150}).write(record)
    assert (
        "Unknown tokens: 89.3 % of the tokens in the prompts of prom_core_all are unknown to the tokenizer of tiny."
    ) in words(render(made))


@pytest.mark.parametrize(("level", "text"), [(0.999, "99.9 %"), (0.975, "97.5 %"), (0.9, "90 %")])
def test_a_level_is_not_rounded_away(tmp_path, level, text):
    made = Results(tmp_path, (PROMOTERS, SPLICE), items=200)
    made.settings = made.settings.model_copy(update={"comparison": Comparison(level=level)})
    for seed in range(3):
        for task in made.tasks:
            made.add_run("adamw", seed, task=task, skill=2.0)
            made.add_run("sgd", seed, task=task, skill=0.5)
    page = render(made)
    assert f"{text} interval" in section_of(page, "differences")
    assert f"({text}, percentile bootstrap" in section_of(page, "all_tasks")


def test_one_optimizer_has_no_verdict(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw")
    page = render(made)
    outline(page)
    assert "adamw is the only optimizer with a score: MCC" in section_of(page, "answer")
    assert "tests.tsv" not in page
    assert 'id="differences"' not in page


def test_text_from_outside_is_escaped(tmp_path):
    attack = '<script>alert("x")</script>'
    task = {**PROMOTERS, "labels": ["no", attack], "instruction": f"{attack} & more"}
    made = Results(tmp_path, (task,))
    made.settings = made.settings.model_copy(update={"name": attack})
    made.add_run("a<b&c")
    page = render(made)
    outline(page)
    assert page.count("<script") == 1  # the page's own
    assert "&lt;script&gt;" in page
    assert "a&lt;b&amp;c" in page


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
            "Not on equal terms: budgets differ."
            " On prom_core_all: the numbers of gradient evaluations differ by a step or more.",
        ),
        ({"batch": 64}, "Not on equal terms: batch sizes differ. On prom_core_all: the global batch sizes differ."),
        (
            {"code": "b"},
            "Not on equal terms: versions of dnatune differ. The runs were trained by different versions of dnatune.",
        ),
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


def test_the_sign_that_the_training_split_raises_alone_does_not_accuse_of_test_items(tmp_path):
    made = Results(tmp_path, items=200)
    made.add_run("adamw")
    page = render(made, known_base(signs=["as_good_as_trained"], in_manifest=[]))
    # MCC, that of composition, and the share that is right where k-mers err, on both strands.
    assert "prom_core_all 0.950 0.500 90 % 55 % " in section_of(page, "contamination")
    for name in ("answer", "contamination"):
        text = section_of(page, name)
        assert "tiny has probably been trained on prom_core_all, its test items perhaps among it." in text
        assert "has probably seen" not in text
    assert '<span class="badge">trained on the task</span>' in page
    assert '<span class="badge">seen before</span>' not in page
    inverted = {"mcc": -0.95, "mcc_within_gc_p": 1.0, "permuted_words_mcc": 0.95, "permuted_words_within_gc_p": 0.0001}
    turned = render(made, known_base(**inverted, signs=["as_good_in_another_order"], in_manifest=[]))
    text = section_of(turned, "answer")
    assert "tiny has probably been trained on prom_core_all" in text
    assert "With the label words in another order its answers reach an MCC of 0.950" in text
    assert "\N{MINUS SIGN}0.950 0.500 90 %" in section_of(turned, "contamination")
    other = render(made, known_base(signs=["as_good_as_trained", "knows_the_items"]))
    assert '<span class="badge">seen before</span>' in other
    assert "tiny has probably seen test items of prom_core_all before." in section_of(other, "answer")


@pytest.mark.parametrize(
    ("sign", "otherwise"),
    [
        (
            "as_good_as_trained",
            "trained on the task's training split, or on the same sequences from another source, can.",
        ),
        (
            "as_good_in_another_order",
            "on the task's training split, or on the same sequences from another source, can.",
        ),
        ("knows_the_labels", "and one that knows a feature of the classes that k-mers do not see."),
        ("knows_the_other_strand", "and one that knows a feature of the classes that k-mers do not see."),
        ("knows_the_items", "a trained model that depends on single bases far more than k-mers do would lose as much."),
        ("better_than_on_dev", "splits that differ in a way that k-mers do not see would show the same."),
        ("in_manifest", "nothing else could put them there."),
    ],
)
def test_every_reason_ends_with_what_else_could_raise_it(sign, otherwise):
    (reason,) = of_contamination.reasons(known_base(signs=[sign]))
    assert reason.endswith(otherwise)
    assert "it has seen the former" not in reason


def test_a_rate_that_knows_only_the_class_shares_is_said_on_the_page_and_in_the_table(tmp_path):
    made = Results(tmp_path, items=200)
    for name in ("adamw", "rk4"):
        made.add_run(name)
    choices = [searched("adamw", [0.6, 0.4, 0.5]), searched("rk4", [FLOOR + 1, FLOOR, None], stages=4)]
    evidence = evidence_of(made, choices=choices)
    flags = {row["optimizer"]: row["flags"].split() for row in evidence.rows if row["flags"] is not None}
    assert "class_shares_only" in flags["rk4"] and "class_shares_only" not in flags["adamw"]
    page = report.page(evidence).html
    leaderboard, trials = (
        page.split(f'id="{name}"')[1].split("</section>")[0] for name in ("leaderboard", "learning_rates")
    )
    assert leaderboard.count("knows nothing beyond class shares") == 1
    assert trials.count("knows nothing beyond class shares") == 1
    assert f"has a dev loss of {FLOOR:g}" in trials


def test_the_second_step_of_a_search_is_shown_with_its_means(tmp_path):
    made = Results(tmp_path, items=200)
    made.add_run("sgd")
    place = ("tiny", "prom_core_all")
    found = [trial(0.1, 0.5, place=place), trial(1.0, 0.4, place=place), trial(10.0, 0.6, place=place)]
    found += [trial(rate, loss, seed=seed, place=place) for rate, loss, seed in ((1.0, 0.3, 1), (1.0, 0.4, 2))]
    found += [trial(rate, loss, seed=seed, place=place) for rate, loss, seed in ((2.0, 0.3, 1), (2.0, None, 2))]
    made_page = report.page(evidence_of(made, choices=[chosen(*found, place=place)]))
    section = words(made_page.html.split('id="learning_rates"')[1].split("</section>")[0])
    assert "3 trials and 4 more about the best rate, with two other seeds" in section
    assert "1 (0.350), 2 (diverged)" in section
    shown = pd.read_csv(io.StringIO(downloads(made_page.html)["trials.tsv"]), sep="\t")
    assert shown["search"].value_counts().to_dict() == {"coarse": 3, "fine": 4}


def test_knowledge_that_composition_does_not_explain_is_put_in_numbers():
    forward, reverse = of_contamination.reasons(known_base(signs=["knows_the_labels", "knows_the_other_strand"]))
    assert "(p < 0.001 over test items, < 0.001 with dev items)" in forward
    assert ": of the 15 test items that k-mers get wrong it names 90 % right, by chance 50 %." in forward
    assert "(p 0.500)" in reverse and "it names 55 % right, by chance 50 %." in reverse
    never_wrong = known_base(signs=["knows_the_labels"], hard_items=0, hard_accuracy=None)
    assert "with dev items). A model that learnt" in of_contamination.reasons(never_wrong)[0]


def test_the_trials_are_figures_with_a_caption_and_their_data(tmp_path):
    made = Results(tmp_path, items=200)
    for name in ("adamw", "rk4"):
        made.add_run(name)
    choices = [searched("adamw", [0.6, 0.4, 0.5]), searched("rk4", [0.5, 0.3, None], stages=4)]
    made_page = report.page(evidence_of(made, choices=choices))
    outline(made_page.html)
    section = made_page.html.split('id="learning_rates"')[1].split("</section>")[0]
    assert section.count("<figure") == section.count("<svg") == 2
    assert len(re.findall(r"<figcaption>\s*<strong>", section)) == 2
    files = downloads(made_page.html)
    assert {"trials.tsv", "expected.tsv", "tuning.tsv"} <= files.keys()
    expected = pd.read_csv(io.StringIO(files["expected.tsv"]), sep="\t")
    assert expected["expected_best_dev_loss"].tolist() == pytest.approx(
        [row["score"] for row in learning_rates.expected_curves(choices)], rel=1e-4
    )
    assert {"trials", "expected"} <= made_page.figures.keys()
    assert "10 with adamw; 40 with rk4" in words(section)
    lost = render(made, choices=[searched("adamw", [None, None]), searched("rk4", [None, None])])
    assert "Every trial diverged, so there is no score." in section_of(lost, "learning_rates")


def test_several_models_are_told_apart(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", model="small", skill=0.5)
    made.add_run("adamw", model="large", skill=1.5)
    text = words(render(made))
    assert "prom_core_all, large adamw is the only optimizer with a score: MCC" in text
    assert "prom_core_all, small" in text


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
    assert all(contrast(colour, "#fdfdfc") > 2.2 for colour in style.COLOURS)
    assert all(contrast(style.DARK[colour], "#15181b") > 4.5 for colour in style.COLOURS)
    for text in (style.INK, style.MUTED):
        assert contrast(text, "#fdfdfc") > 4.4
        assert contrast(style.DARK[text], "#15181b") > 4.5
    assert len(set(style.COLOURS)) == len(set(style.SHAPES)) == len(set(style.DASHES)) == len(style.COLOURS)


@pytest.mark.slow
def test_thirty_long_runs_stay_small(tmp_path):
    made = Results(tmp_path, items=400)
    for optimizer in ("adamw", "sgd", "rk4", "rkc", "rk4_adam", "rk4_single_gradient"):
        for seed in range(5):
            made.add_run(optimizer, seed, steps=2000)
    page = render(made)
    assert len(page.encode()) < 5_000_000
    lengths = [re.findall(r"[ML]", path) for path in re.findall(r'<path d="([^"]+)"', page)]
    longest = max(map(len, lengths))
    assert 200 <= longest <= curves.MOST_POINTS
    assert str(curves.MOST_POINTS) in words(page)


def test_thinning_keeps_every_spike():
    rng = np.random.default_rng(0)
    values = rng.normal(size=5000)
    values[[17, 2500, 4999]] = [50, -50, 60]
    curve = pd.DataFrame({"x": np.arange(5000.0), "value": values})
    thin = curves.thinned(curve)
    assert 200 <= len(thin) <= curves.MOST_POINTS
    assert {50, -50, 60} <= set(thin["value"])
    assert thin["x"].is_monotonic_increasing
    short = curve.head(curves.MOST_POINTS)
    assert curves.thinned(short) is short


def test_more_optimizers_than_colours(tmp_path):
    made = Results(tmp_path, items=50)
    for number in range(9):
        made.add_run(f"method{number}")
    groups, _ = read(made)
    looks = base.palette(groups)
    assert len(looks) == 9
    outline(render(made))


def test_a_log_without_any_loss_leaves_words_in_place_of_a_figure(tmp_path):
    made = Results(tmp_path)
    made.add_run("sgd", diverged_at=1)
    page = report.page(evidence_of(made))
    assert "No run recorded a loss." in words(page.html)
    assert "There is nothing to draw." in page.figures["loss"]


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
    assert "3 test items have a copy or near-copy in an earlier split; they were kept." in said
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
    assert "adamw scores highest, but one seed cannot show that it is better: MCC" in text
    assert pairs_of(made)[0].withheld
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


def test_a_pair_that_no_number_of_seeds_decides_is_not_said_to_need_none(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed)
        made.add_run("sgd", seed, skill=0.9)
    evidence = evidence_of(made)
    first, *others = evidence.tests
    tests = [dataclasses.replace(first, seeds_needed=None, power=0.31), *others]
    section = section_of(report.page(dataclasses.replace(evidence, tests=tests)).html, "differences")
    assert "3 no number 31 %" in section
    assert "none" not in section.split("Only seeds that")[0].split("seeds needed power")[1]


def test_more_seeds_than_can_be_listed_are_given_as_a_range_in_every_row(tmp_path):
    made = Results(tmp_path)
    for seed in range(5):
        made.add_run("adamw", seed)
        # Four complete: alone they would be listed.
        made.add_run("sgd", seed, skill=0.5, diverged_at=9 if seed == 4 else None)
    section = section_of(render(made), "leaderboard")
    assert "seeds (range)" in section and "each seed" not in section
    for group in read(made)[0]:
        low, *_, high = sorted(group.values("mcc"))
        assert f"{low:.3f} to {high:.3f}" in section
    few = Results(tmp_path / "few")
    few.add_run("adamw")
    assert "each seed" in section_of(render(few), "leaderboard")


def test_constant_predictions_get_a_verdict_and_a_badge(tmp_path):
    made = Results(tmp_path)
    for seed in range(5):
        made.add_run("adamw", seed, skill=1.5)
        made.add_run("sgd", seed, skill=1.5, constant=seed in (1, 3))
        made.add_run("rk4", seed, skill=1.5, constant=True)
    page = render(made)
    text = words(pair_sentences(page))
    assert re.findall(r'<li class="(\w+)">', pair_sentences(page)) == ["better", "inconclusive", "inconclusive"]
    # The pairs with sgd have intervals; five seeds that differ so much leave them wide.
    assert text.count("neither a difference nor equivalence within 0.01 is shown") == 2
    assert "Nothing can be said" not in text and "withheld" not in text.split("Better and worse")[0]
    said = section_of(page, "leaderboard")
    assert [said.count(f"one class in {count} of 5 runs") for count in (2, 5)] == [1, 1]


def test_two_methods_that_never_tell_classes_apart_are_named_with_what_is_known(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed, constant=True)
        made.add_run("sgd", seed, constant=True)
    text = words(pair_sentences(render(made)))
    assert re.search(
        r"withheld Neither adamw nor sgd leaves one class at its threshold; AUROC 0\.\d+ and 0\.\d+\.", text
    )


def test_byte_identical_predictions_are_identical(tmp_path):
    made = Results(tmp_path)
    for seed in range(3):
        made.add_run("adamw", seed)
        made.add_run("sgd", seed)
        made.add_run("copy", seed)
        source, target = made.evaluations[-2], made.evaluations[-1]
        for name in ("predictions.tsv", "metrics.json"):
            (target / name).write_bytes((source / name).read_bytes())
    section = pair_sentences(render(made))
    text = words(section)
    assert "identical sgd and copy are identical: every prediction of every seed is the same." in text
    assert re.findall(r'<li class="(\w+)">', section).count("identical") == 1


def test_diverged_runs_are_named_over_all_tasks_and_lower_the_profile(tmp_path):
    made = Results(tmp_path, (PROMOTERS, SPLICE), items=200)
    for task in made.tasks:
        for seed in range(3):
            made.add_run("adamw", seed, task=task, skill=1.0)
            lost = 17 if (task, seed) == ("splice", 1) else None
            made.add_run("sgd", seed, task=task, skill=2.0, diverged_at=lost)
    page = render(made)
    section = section_of(page, "all_tasks")
    assert "all completed runs of the 2 tasks" in section
    assert "mean and rank flatter an optimizer that lost runs" in section
    rows = re.search(r"mean rank diverged (sgd .*) (adamw [^A-Z]*)", section)
    assert re.search(r"sgd \S+ withheld \S+ 1 of 6", rows[1])
    assert re.search(r"adamw \S+ \S+ to \S+ \S+ 0 of 6", rows[2])
    assert "There is no interval if a task has fewer than 3 completed seeds: sgd (splice)." in section
    assert "percentile bootstrap" in section  # of the row that has one
    profiles = pd.read_csv(io.StringIO(downloads(page)["profiles.tsv"]), sep="\t")
    # The file has five digits.
    highest = profiles.groupby("optimizer")["share"].max().to_dict()
    assert highest == pytest.approx({"adamw": 1, "sgd": 5 / 6}, abs=1e-5)


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
    assert curves.points_each([]) == curves.MOST_POINTS

    class Many:
        runs = range(840)

    assert curves.points_each([Many()]) == 47
