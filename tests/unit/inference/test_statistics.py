"""Intervals, tests and verdicts against independent implementations, and against truths that are known."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

import interval_coverage
from dnatune import inference
from dnatune.errors import ConfigurationError
from dnatune.inference.probabilities import class_probabilities
from dnatune.inference.reasons import ALL_CONSTANT

SCORES = {
    "mcc": metrics.matthews_corrcoef,
    "f1_macro": lambda truth, guess, **options: metrics.f1_score(truth, guess, average="macro", **options),
    "auroc": metrics.roc_auc_score,
}


difference_of = interval_coverage.difference_of
#: Those whose values scikit-learn knows by the names above.
METRICS = tuple(SCORES)


def labelled(classes=3, seeds=3, items=60, seed=0):
    """Draw the classes of items and two methods' noisy predictions [seeds, items]."""
    generator = np.random.default_rng(seed)
    # Class 0 is twice as frequent as the others: with even classes some terms of the derivatives vanish.
    truth = np.arange(items) % (classes + 1) % classes
    wrong = generator.random((2, seeds, items)) < [[[0.25]], [[0.4]]]
    first, second = np.where(wrong, generator.integers(0, classes, (2, seeds, items)), truth)
    return first, second, truth


def scored(seeds=3, items=60, seed=0):
    """Draw the classes of items and two methods' scores with ties [seeds, items]."""
    generator = np.random.default_rng(seed)
    truth = np.arange(items) % 3 // 2
    first, second = np.round(generator.normal(size=(2, seeds, items)) + truth, 1)
    return first, second, truth


def known(estimate, seed_variance, item_variance, seeds=5, items=5920, metric="mcc"):
    """Return a comparison with the given numbers instead of measured ones."""
    interval = inference.Interval(estimate, None, None, 0.95)
    blank = inference.PairedDifference(
        metric, seeds, items, items, items, (), interval, 1.0, seed_variance, item_variance
    )
    return dataclasses.replace(blank, interval=blank.interval_at(0.95))


def test_interval_over_seeds_is_student_s():
    values = [0.61, 0.66, 0.58, 0.63]
    oracle = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    got = inference.seed_interval(values, 0.9)
    assert (got.estimate, got.low, got.high) == pytest.approx((0.62, oracle.low, oracle.high), abs=1e-12)
    assert got.level == 0.9 and got.reason is None


@pytest.mark.parametrize(
    ("values", "reason", "estimate"),
    [
        ([], "there are none", None),
        ([0.5], "there is 1", 0.5),
        ([0.5, 0.6], "there are 2", 0.55),
        ([0.5, 0.6, math.nan], "not a finite number", None),
        ([0.5, 0.6, math.inf], "not a finite number", None),
        ([0.7, 0.7, 0.7], "all 3 seeds give the same value", 0.7),
        # 0.1 + 0.2 is not exactly 0.3 in binary; an interval of width 1e-16 would be meaningless.
        ([0.3, 0.1 + 0.2, 0.3], "all 3 seeds give the same value", 0.3),
        ([[0.5, 0.6], [0.7, 0.8]], "shape (2, 2)", None),
    ],
)
def test_interval_over_seeds_is_refused_with_a_reason(values, reason, estimate):
    got = inference.seed_interval(values)
    assert reason in got.reason and got.low is None and got.high is None
    assert got.estimate == (None if estimate is None else pytest.approx(estimate))


@pytest.mark.parametrize("metric", METRICS)
def test_differences_are_those_of_scikit_learn(metric):
    first, second, truth = scored() if metric == "auroc" else labelled()
    got = inference.paired_difference(first, second, truth, metric)
    score = SCORES[metric]
    expected = [score(truth, a) - score(truth, b) for a, b in zip(first, second, strict=True)]
    assert got.differences == pytest.approx(expected, abs=1e-12)
    assert got.interval.estimate == pytest.approx(np.mean(expected), abs=1e-12)
    assert (got.seeds, got.items) == (3, 60)


def test_an_unreadable_answer_is_a_class_of_its_own():
    first, second, truth = labelled(classes=2)
    first[0, :5] = 2
    expected = metrics.matthews_corrcoef(truth, first[0]) - metrics.matthews_corrcoef(truth, second[0])
    assert inference.paired_difference(first, second, truth).differences[0] == pytest.approx(expected, abs=1e-12)
    # Macro F1 is the mean over the true classes, without the class that stands for "no class".
    score = [metrics.f1_score(truth, x[0], average="macro", labels=[0, 1]) for x in (first, second)]
    got = inference.paired_difference(first, second, truth, "f1_macro").differences[0]
    assert got == pytest.approx(score[0] - score[1], abs=1e-12)


@pytest.mark.parametrize("metric", ["mcc", "f1_macro"])
def test_item_covariance_is_that_of_scikit_learn_s_derivatives(metric):
    """An item's influence is the derivative of the metric by its weight, multiplied by the number of items."""
    first, second, truth = labelled(classes=3, seeds=2)
    items, step = len(truth), 1e-4
    influence = np.empty((2, items))
    for seed, item in itertools.product(range(2), range(items)):
        slopes = []
        for labels in (first[seed], second[seed]):
            weights = np.ones((2, items))
            weights[:, item] += (step, -step)
            up, down = (SCORES[metric](truth, labels, sample_weight=row) for row in weights)
            slopes.append((up - down) / (2 * step) * items)
        influence[seed, item] = slopes[0] - slopes[1]
    got = inference.item_covariance(difference_of(first, second, truth, metric))
    # Central differences of step h err by h², here 1e-8.
    assert got == pytest.approx(np.cov(influence) / items, rel=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_item_covariance_agrees_with_the_jackknife(metric):
    first, second, truth = scored(items=300) if metric == "auroc" else labelled(items=300)
    items = len(truth)
    left_out = np.empty((3, items))
    for item in range(items):
        kept = np.arange(items) != item
        left_out[:, item] = difference_of(first[:, kept], second[:, kept], truth[kept], metric).values
    jackknife = np.cov(left_out) * (items - 1) ** 2 / items
    got = inference.item_covariance(difference_of(first, second, truth, metric))
    # The two differ by terms of the order 1/items of the variance.
    assert got == pytest.approx(jackknife, abs=3 / items * jackknife.max())


def test_auroc_covariance_is_delong_s_by_brute_force():
    first, second, truth = scored(seeds=2)

    def placements(scores):
        wins = [[(p > q) + (p == q) / 2 for q in scores[truth == 0]] for p in scores[truth == 1]]
        return np.mean(wins, axis=1), np.mean(wins, axis=0)

    gaps = [
        [x - y for x, y in zip(placements(a), placements(b), strict=True)] for a, b in zip(first, second, strict=True)
    ]
    positive, negative = (np.stack([gap[part] for gap in gaps]) for part in (0, 1))
    expected = np.cov(positive) / positive.shape[1] + np.cov(negative) / negative.shape[1]
    got = inference.item_covariance(difference_of(first, second, truth, "auroc"))
    assert got == pytest.approx(expected, rel=1e-12)


def test_auroc_variance_is_that_of_another_implementation():
    index = np.arange(40)
    truth = (index * 7 % 10 < 4).astype(int)
    first, second = truth + index * 13 % 17 / 10, truth * 0.8 + index * 11 % 19 / 12
    found = difference_of(first[None], second[None], truth, "auroc")
    difference, covariance = found.values, inference.item_covariance(found)
    # Delong_test of MLstatkit 0.1.91 on these scores: AUCs 0.96484375 and 0.83072917, |z| and variance as below.
    assert difference[0] == pytest.approx(0.96484375 - 0.8307291666666665, abs=1e-12)
    assert covariance[0, 0] == pytest.approx(0.003689874965403583, rel=1e-12)
    assert difference[0] / math.sqrt(covariance[0, 0]) == pytest.approx(2.2078531282309957, rel=1e-12)


def test_log_probabilities_stand_for_labels_and_scores():
    generator = np.random.default_rng(1)
    raw = generator.normal(size=(2, 3, 80, 2))
    truth = np.arange(80) % 2
    raw[..., 1] += 2 * truth - 1
    labels, score = raw.argmax(axis=3), 1 / (1 + np.exp(raw[..., 0] - raw[..., 1]))
    for metric, plain in (("mcc", labels), ("auroc", score)):
        got, expected = (inference.paired_difference(*x, truth, metric) for x in (raw, plain))
        assert got.differences == pytest.approx(expected.differences, abs=1e-12)
        assert got.item_variance == pytest.approx(expected.item_variance, rel=1e-9)


def test_without_shared_item_noise_it_is_the_paired_t_test():
    # Errors drawn independently for each seed have no covariance; here its estimate is negative and counts as 0.
    first, second, truth = labelled(classes=2, seeds=5, items=400, seed=1)
    got = inference.paired_difference(first, second, truth)
    assert got.item_variance == 0
    scores = [[metrics.matthews_corrcoef(truth, row) for row in method] for method in (first, second)]
    oracle = stats.ttest_rel(*scores)
    limits = oracle.confidence_interval(0.95)
    assert got.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert (got.interval.low, got.interval.high) == pytest.approx((limits.low, limits.high), rel=1e-9)


def test_without_seed_noise_it_is_the_test_over_items():
    assert inference.half_width(0.0, 4e-4, 5, 613, 0.05) == pytest.approx(stats.t.isf(0.025, 612) * 0.02, rel=1e-12)


def test_p_value_and_interval_say_the_same():
    first, second, truth = interval_coverage.simulate(
        interval_coverage.Cell("mcc", 0.05, 613, "high", 5, 0.02), np.random.default_rng(3)
    )
    got = inference.paired_difference(first, second, truth)
    assert got.item_variance > 0
    touching = got.interval_at(1 - got.p_value)
    assert touching.low == pytest.approx(0, abs=1e-9)


def test_swapping_methods_and_shuffling_items_change_nothing_else():
    first, second, truth = labelled(seeds=4)
    order = np.random.default_rng(0).permutation(len(truth))
    there = inference.paired_difference(first, second, truth)
    back = inference.paired_difference(second[:, order], first[:, order], truth[order])
    assert back.p_value == pytest.approx(there.p_value, rel=1e-9)
    assert (back.interval.low, back.interval.high) == pytest.approx((-there.interval.high, -there.interval.low))


def test_items_are_counted_once():
    """The variance of the mean difference over repeated experiments is the sum of the components."""
    cell = interval_coverage.Cell("mcc", 0.0, 613, "moderate", 3, 0.005)
    generator = np.random.default_rng(0)
    found = [difference_of(*interval_coverage.simulate(cell, generator), "mcc") for _ in range(2_000)]
    differences = np.stack([one.values for one in found])
    covariance = np.stack([inference.item_covariance(one) for one in found])
    actual = differences.mean(axis=1).var()
    of_seeds, of_items = inference.variance_components(differences, covariance)
    # A variance from 2,000 draws has a relative standard error of √(2/2000) = 3.2 %; this is three of them.
    assert (of_seeds / 3 + of_items).mean() == pytest.approx(actual, rel=0.1)
    # Adding the items' whole variance would count their effect on each seed separately twice.
    assert (of_seeds / 3 + covariance.mean(axis=(1, 2))).mean() > 1.25 * actual


@pytest.mark.parametrize(
    ("metric", "base", "prevalence"),
    [("mcc", 0.65, 0.5), ("mcc", 0.65, 0.1), ("auroc", 0.85, 0.1), ("f1_macro", 0.8, 0.5)],
)
def test_simulated_runs_have_the_metric_they_are_said_to_have(metric, base, prevalence):
    cell = interval_coverage.Cell(metric, 0.05, 200_000, "high", 3, 0.0, base, prevalence)
    first, second, truth = interval_coverage.simulate(cell, np.random.default_rng(0))
    score = SCORES[metric]
    values = [[score(truth, row) for row in method] for method in (first, second)]
    # The items cause a standard error of at most .002 of the mean difference, and the seeds .01/√3 of each mean.
    assert np.mean(values[0]) - np.mean(values[1]) == pytest.approx(0.05, abs=0.006)
    assert np.mean(values) == pytest.approx(base, abs=0.02)


def test_tables_print_what_was_counted():
    cell = interval_coverage.Cell("mcc", 0.05, 613, "high", 5, 0.02)
    coverage = dict.fromkeys(interval_coverage.CONSTRUCTIONS, 0.9) | {"combined": 0.96}
    outcome = interval_coverage.Outcome(
        cell, 2_000, 3, coverage, dict.fromkeys(interval_coverage.CONSTRUCTIONS, 0.1), 0.62, 0.63
    )
    assert interval_coverage.overview([outcome]).splitlines()[-1] == "| 0.05 | 613 | high | 5 | 0.960 (0.620, 0.630) |"
    # If 200 true 95 % intervals are each tested with 2,000 replications, one is expected to be below .937.
    assert "| paired t | 0.900 | 0.900 | 1 of 1 | 1.00 |" in interval_coverage.summary([outcome])
    assert "cells below 0.937" in interval_coverage.summary([outcome])
    assert interval_coverage.table([outcome]).endswith("| 0.1000 | 0.620 | 0.630 | 3 |")


NULL_CELLS = [
    interval_coverage.Cell("mcc", 0.0, 613, "high", 3, 0.0),
    interval_coverage.Cell("mcc", 0.0, 613, "moderate", 5, 0.05),
    interval_coverage.Cell("mcc", 0.0, 5920, "high", 3, 0.005),
    interval_coverage.Cell("auroc", 0.0, 613, "moderate", 5, 0.02, base=0.85),
    interval_coverage.Cell("f1_macro", 0.0, 613, "high", 3, 0.005, base=0.8),
]


@pytest.mark.parametrize("cell", NULL_CELLS, ids=lambda cell: f"{cell.metric}-{cell.items}-{cell.seeds}-{cell.seed_sd}")
def test_intervals_hold_the_truth_as_often_as_they_say(cell):
    outcome = interval_coverage.run_cell(cell, 600, np.random.default_rng(7))
    assert outcome.refused == 0
    least = interval_coverage.lowest_expected(600)
    assert outcome.coverage["combined"] >= least
    # Without a difference, the interval covers 0 exactly if the test does not reject.
    assert outcome.found == pytest.approx(1 - outcome.coverage["combined"], abs=1e-12)
    # Resampling five seeds underestimates their uncertainty.
    assert outcome.coverage["bootstrap seeds"] < least


@pytest.mark.parametrize("seed_sd", [0.005, 0.05])
def test_one_of_two_equal_methods_is_called_better_in_one_comparison_of_twenty_at_most(seed_sd):
    """The verdicts of 1,000 comparisons with little seed noise and of 1,000 with much seed noise."""
    cell, generator = interval_coverage.Cell("mcc", 0.0, 613, "high", 5, seed_sd), np.random.default_rng(13)
    decided = 0
    for _ in range(1_000):
        found = inference.paired_difference(*interval_coverage.simulate(cell, generator), "mcc")
        decided += inference.verdict(found, 0.01, found.p_value).word in ("better", "worse")
    # The 99.9 % bound for a true share of .05 in 1,000 comparisons.
    assert decided / 1_000 <= 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / 1_000)


def test_seeds_alone_or_items_alone_do_not_do():
    """Each simpler construction fails if the noise that it ignores is the larger one."""
    least = interval_coverage.lowest_expected(600)
    items_rule = interval_coverage.Cell("mcc", 0.0, 613, "moderate", 10, 0.0)
    assert interval_coverage.run_cell(items_rule, 600, np.random.default_rng(8)).coverage["paired t"] < least
    seeds_rule = interval_coverage.Cell("mcc", 0.0, 613, "high", 5, 0.05)
    assert interval_coverage.run_cell(seeds_rule, 600, np.random.default_rng(9)).coverage["items"] < least


def test_the_quantile_of_one_t_covers_too_little_with_three_seeds():
    """For normal data with an item variance of 1/5 of the seed variance, the bound covers more than Satterthwaite's."""
    generator, size, seeds = np.random.default_rng(0), 40_000, 3
    item_variance = 0.2 / seeds
    mean = generator.normal(size=size) * math.sqrt(1 / seeds + item_variance)
    seed_variance = generator.chisquare(seeds - 1, size) / (seeds - 1)
    total = seed_variance / seeds + item_variance
    degrees = total**2 / ((seed_variance / seeds) ** 2 / (seeds - 1))
    usual = np.mean(np.abs(mean) <= stats.t.isf(0.025, degrees) * np.sqrt(total))
    bound = np.mean(np.abs(mean) <= inference.half_width(seed_variance, item_variance, seeds, 100_000, 0.05))
    # The standard error of a coverage of .95 is .0011 here.
    assert usual < 0.935 and bound > 0.95


def test_power_agrees_with_simulation():
    cell = interval_coverage.Cell("mcc", 0.05, 5920, "moderate", 5, 0.05)
    outcome = interval_coverage.run_cell(cell, 600, np.random.default_rng(11))
    assert 0.2 < outcome.predicted < 0.8
    # The 99 % bound for a share of 600 replications.
    allowed = 2.58 * math.sqrt(outcome.predicted * (1 - outcome.predicted) / 600)
    assert outcome.found == pytest.approx(outcome.predicted, abs=allowed)


def test_power_without_items_is_that_of_the_t_test():
    shift = 0.05 / math.sqrt(0.03**2 / 5)
    limit = stats.t.isf(0.025, 4)
    oracle = stats.nct.sf(limit, 4, shift) + stats.nct.cdf(-limit, 4, shift)
    # The average over 2,000 equally likely variances errs by less than their share of 5e-4 each.
    assert inference.power_of_difference(0.05, 0.03**2, 0.0, 5, 5920) == pytest.approx(oracle, abs=1e-4)
    assert inference.power_of_difference(0.0, 0.03**2, 0.0, 5, 5920) == pytest.approx(0.05, abs=1e-4)
    # The normal distribution against the quantile of t with 5,919 degrees of freedom.
    assert inference.power_of_difference(0.0, 0.0, 1e-4, 5, 5920) == pytest.approx(0.05, abs=1e-4)


def degenerate():
    first, second, truth = labelled(classes=2, seeds=3, items=60)
    scores_a, scores_b, score_truth = scored()
    once, missing = first.copy(), scores_a.copy()
    once[1] = 1
    missing[0, 0] = math.nan
    return {
        "one seed": (first[:1], second[:1], truth, "mcc", "there is 1"),
        "no seed": (first[:0], second[:0], truth, "mcc", "no runs"),
        "no items": (first[:, :0], second[:, :0], truth[:0], "mcc", "one class"),
        "other seeds": (first, second[:2], truth, "mcc", "cannot be paired"),
        "other items": (first, second[:, :50], truth, "mcc", "do not fit"),
        "one row": (first[0], second[0], truth, "mcc", "are not [seeds, items]"),
        "constant scores": (np.zeros((3, 60)), np.ones((3, 60)), score_truth, "auroc", "all 3 seeds give the same"),
        "one answer in one run, twice": (once, once, truth, "mcc", "all 3 seeds give the same value"),
        "one class": (first, second, np.zeros(60), "mcc", "one class"),
        "one class, scores": (scores_a, scores_b, np.ones(60), "auroc", "one class"),
        "one positive": (scores_a, scores_b, np.arange(60) == 7, "auroc", "two test items"),
        "three classes": (scores_a, scores_b, np.arange(60) % 3, "auroc", "classes from 0 to 1"),
        "a class without items": (np.zeros((3, 60, 3)), np.zeros((3, 60, 3)), truth, "auroc", "two test items of each"),
        "labels for log loss": (first, second, truth, "log_loss", "needs log-probabilities"),
        "NaN": (missing, scores_b, score_truth, "auroc", "not a number"),
        "infinite": (np.full((3, 60, 2), -math.inf), np.zeros((3, 60, 2)), truth, "auroc", "finite log-probability"),
        "one log-probability": (np.zeros((3, 60, 1)), np.zeros((3, 60, 1)), truth, "mcc", "only one class"),
        "text": (np.full((3, 60), "yes"), second, truth, "mcc", "not a number"),
        "scores for labels": (scores_a, scores_b, score_truth, "mcc", "class labels, not scores"),
        "a method with itself": (first, first, truth, "mcc", "all 3 seeds give the same value"),
        "one run thrice": (first[[0, 0, 0]], second[[0, 0, 0]], truth, "mcc", "all 3 seeds give the same value"),
    }


@pytest.mark.parametrize("case", degenerate())
@pytest.mark.filterwarnings("error")
def test_degenerate_input_gets_a_reason_and_no_verdict(case):
    *arrays, metric, reason = degenerate()[case]
    got = inference.paired_difference(*arrays, metric)
    assert reason in got.interval.reason
    assert (got.interval.low, got.interval.high, got.p_value) == (None, None, None)
    assert got.interval_at(0.9).low is None
    result = inference.verdict(got, 0.01, got.p_value)
    assert result.word == "inconclusive" and reason in result.sentence
    # A p-value from elsewhere does not change this.
    assert inference.verdict(got, 0.01, 0.001).word == "inconclusive"
    needed = inference.seeds_needed(got, 0.02)
    assert needed.seeds is None and reason in needed.sentence


def test_a_lost_run_still_counts_in_the_estimate():
    first, second, truth = labelled(classes=2, seeds=4, items=200)
    first[2] = 1
    got = inference.paired_difference(first, second, truth, "mcc")
    expected = [
        metrics.matthews_corrcoef(truth, a) - metrics.matthews_corrcoef(truth, b)
        for a, b in zip(first, second, strict=True)
    ]
    assert got.interval.estimate == pytest.approx(np.mean(expected), abs=1e-12)
    assert got.p_value is not None


def test_one_answer_to_all_items_has_an_mcc_of_0_on_any_items():
    first, _, truth = labelled(classes=2, seeds=3, items=200)
    first[1] = 1
    measured = inference.measure(first, truth, "mcc")
    assert measured.constant.tolist() == [False, True, False] and measured.values[1] == 0
    assert not measured.influence[1].any() and measured.influence[0].any()
    # Macro F1 of one answer depends on the share of its class: its derivative by the weight of an item is not 0.
    assert inference.measure(first, truth, "f1_macro").influence[1].any()


def test_a_method_that_never_leaves_one_class_is_tested_against_one_that_does():
    _, second, truth = labelled(classes=2, seeds=3, items=200)
    never = np.ones_like(second)
    # The second is a fixed classifier: the difference is the same for each seed, and varies with the items alone.
    fixed = np.repeat(second[:1], 3, axis=0)
    got = inference.paired_difference(never, fixed, truth, "mcc")
    alone = inference.item_covariance(difference_of(never[:1], fixed[:1], truth, "mcc"))[0, 0]
    assert got.seed_variance == 0 and got.item_variance == pytest.approx(alone, rel=1e-12)
    assert inference.verdict(got, 0.01, got.p_value).word == "worse"


def test_two_methods_that_never_leave_one_class_are_not_tested_by_their_answers():
    _, second, truth = labelled(classes=2, seeds=3, items=200)
    ones, zeros = np.ones_like(second), np.zeros_like(second)
    for metric in inference.OF_LABELS:
        got = inference.paired_difference(ones, zeros, truth, metric)
        assert got.interval.reason == ALL_CONSTANT and got.all_constant
        assert inference.verdict(got, 0.01, None, ("adamw", "sgd")) == inference.Verdict(
            "withheld", False, "Neither adamw nor sgd leaves one class at its threshold."
        )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: inference.seed_interval([1, 2, 3], 95), "confidence level of 95"),
        (lambda: inference.effect_size([1, 2, 3], [1, 2, 4], 0.4), "confidence level of 0.4"),
        (lambda: inference.paired_difference([[1]], [[1]], [1], "recall"), "mcc, f1_macro, auroc, log_loss"),
        (lambda: inference.verdict(known(0, 1, 1), 0, 1), "equivalence margin of 0"),
        (lambda: inference.seeds_needed(known(0, 1, 1), 0), "true difference of 0"),
        (lambda: inference.seeds_needed(known(0, 1, 1), 0.1, 80), "power of 80"),
    ],
)
def test_settings_that_cannot_be_meant_are_errors(call, words):
    with pytest.raises(ConfigurationError) as error:
        call()
    assert words in str(error.value)


def with_rare(number, seeds=5, items=300, seed=0):
    """Draw classes, of which `number` items are of class 1, and two methods' log-probabilities [seeds, items, 2]."""
    generator, truth = np.random.default_rng(seed), (np.arange(items) < number).astype(int)
    ratios = generator.normal(size=(2, seeds, items)) + (2 * truth - 1)
    return *np.stack([-np.logaddexp(0, ratios), -np.logaddexp(0, -ratios)], axis=-1), truth


@pytest.mark.parametrize("metric", ["mcc", "f1_macro", "auroc"])
def test_the_degrees_of_freedom_of_the_items_are_those_of_the_rarest_class(metric):
    first, second, truth = with_rare(20)
    got = inference.paired_difference(first, second, truth, metric)
    assert (got.limiting, got.clusters, got.untested) == (20, 300, None)
    wide = stats.t.isf(0.025, 4) ** 2 * got.seed_variance / 5 + stats.t.isf(0.025, 19) ** 2 * got.item_variance
    assert got.interval.high - got.interval.estimate == pytest.approx(np.sqrt(wide), rel=1e-9)
    # Pairs of copies are as many independent items as there are pairs.
    assert inference.paired_difference(first, second, truth, metric, clusters=np.arange(300) // 2).limiting == 10


@pytest.mark.parametrize("metric", ["mcc", "f1_macro", "auroc"])
def test_too_few_items_of_a_class_give_an_approximate_interval_and_no_verdict(metric):
    first, second, truth = with_rare(inference.FEWEST_ITEMS - 1)
    got = inference.paired_difference(first, second, truth, metric)
    assert got.p_value is None and got.interval.low < got.interval.estimate < got.interval.high
    assert inference.detectable_difference(got) is None and inference.seeds_needed(got, 0.1).seeds is None
    said = inference.verdict(got, 10.0, None, ("adamw", "sgd"))
    assert said.word == "inconclusive" and not said.within_margin
    assert said.sentence.startswith(f"adamw and sgd are not tested ({inference.METRIC_NAMES[metric]} ")
    assert said.sentence.endswith("14 independent test items of class 1: too few for a test, which needs 15.")
    assert ", approximate 95 % interval " in said.sentence
    # Log loss is a mean over all items, on which no class weighs more than its share.
    assert inference.paired_difference(first, second, truth, "log_loss").p_value is not None
    enough = inference.paired_difference(*with_rare(inference.FEWEST_ITEMS), metric)
    assert enough.p_value is not None and enough.untested is None


def test_one_item_of_a_class_gives_no_interval():
    got = inference.paired_difference(*with_rare(1), "mcc")
    assert got.interval.reason == "1 independent test item of class 1: too few for a test, which needs 15"
    assert got.interval.low is None and got.untested is None


def test_mcc_of_several_classes_rests_on_the_items_outside_the_most_frequent_one():
    generator = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [200, 90, 10])
    first, second = generator.integers(0, 3, size=(2, 4, 300))
    found = {name: inference.paired_difference(first, second, truth, name) for name in ("mcc", "f1_macro")}
    assert found["mcc"].limiting == 100 and found["mcc"].untested is None
    assert "10 independent test items of class 2" in found["f1_macro"].untested
    few = inference.paired_difference(first, second, np.repeat([0, 1, 2], [288, 8, 4]), "mcc")
    assert few.untested == "12 independent test items of other classes than 0: too few for a test, which needs 15"


def test_over_several_tasks_the_task_with_fewest_counts():
    differences = [difference_of(*with_rare(number, seed=number), "mcc") for number in (40, 12)]
    got = inference.infer(inference.average(differences, ("one", "other")))
    assert got.limiting == 12
    assert got.untested == "12 independent test items of class 1 of other: too few for a test, which needs 15"


def clustered(size=4, groups=60, seed=0):
    """Draw items in groups that hold copies: classes, two methods' labels [seeds, items], and the group of each."""
    first, second, truth = labelled(classes=2, seeds=3, items=groups, seed=seed)
    return np.repeat(first, size, 1), np.repeat(second, size, 1), np.repeat(truth, size), np.repeat(range(groups), size)


@pytest.mark.parametrize("metric", METRICS)
def test_copies_of_items_say_nothing_new(metric):
    """Each item four times, in clusters of copies: every number is that of the items once."""
    first, second, truth, groups = clustered()
    once = [array[..., ::4] for array in (first, second, truth)]
    got = inference.paired_difference(first, second, truth, metric, clusters=groups)
    alone = inference.paired_difference(*once, metric)
    assert (got.items, got.clusters) == (240, alone.clusters) == (240, 60)
    assert (got.interval.low, got.p_value) == pytest.approx((alone.interval.low, alone.p_value), rel=1e-9)
    expected = inference.item_covariance(difference_of(*once, metric))
    copied = difference_of(first, second, truth, metric)
    assert inference.item_covariance(copied, groups) == pytest.approx(expected, rel=1e-9)
    # Without the clusters they would pass for four times as many items.
    assert np.trace(inference.item_covariance(copied)) < 0.3 * np.trace(expected)


def test_clusters_of_one_item_each_change_nothing():
    first, second, truth = scored(items=90)
    names = np.random.default_rng(0).permutation(90) + 7
    got, plain = (inference.paired_difference(first, second, truth, "auroc", clusters=c) for c in (names, None))
    assert got.item_variance == pytest.approx(plain.item_variance, rel=1e-12)
    assert got.p_value == pytest.approx(plain.p_value, rel=1e-9)


def test_clustered_auroc_is_obuchowski_s_by_brute_force():
    """Obuchowski 1997, Biometrics 53:567, section 3: variance of an AUROC from sums of placements in clusters."""
    scores, _, truth = scored(seeds=1, items=60)
    groups = np.random.default_rng(1).integers(0, 20, 60)
    measured = inference.measure(scores, truth, "auroc")
    still = dataclasses.replace(measured, values=0 * measured.values, influence=0 * measured.influence)
    got = inference.item_covariance(inference.subtract(measured, still), groups)[0, 0]
    x, y = scores[0][truth == 1], scores[0][truth == 0]
    wins = (x[:, None] > y[None]) + (x[:, None] == y[None]) / 2
    area, m, n = wins.mean(), len(x), len(y)
    sums_x = np.bincount(groups[truth == 1], wins.mean(axis=1) - area, 20)
    sums_y = np.bincount(groups[truth == 0], wins.mean(axis=0) - area, 20)
    of_x, of_y, both = (len(np.unique(part)) for part in (groups[truth == 1], groups[truth == 0], groups))
    s10 = of_x / ((of_x - 1) * m) * (sums_x**2).sum()
    s01 = of_y / ((of_y - 1) * n) * (sums_y**2).sum()
    s11 = both / (both - 1) * (sums_x * sums_y).sum()
    assert got == pytest.approx(s10 / m + s01 / n + 2 * s11 / (m * n), rel=1e-12)


def test_a_class_in_one_cluster_has_no_interval():
    first, second, truth = scored()
    got = inference.paired_difference(first, second, truth, "auroc", clusters=truth)
    assert "copies or near-copies of one another" in got.interval.reason and got.p_value is None


def test_log_loss_is_the_mean_over_items_of_their_losses():
    generator = np.random.default_rng(2)
    first, second = generator.normal(size=(2, 3, 80, 3)) - 3
    truth = np.arange(80) % 3
    got = inference.paired_difference(first, second, truth, "log_loss")

    def losses(raw):
        return -np.log(np.take_along_axis(np.exp(raw) / np.exp(raw).sum(2, keepdims=True), truth[None, :, None], 2))[
            ..., 0
        ]

    gaps = losses(first) - losses(second)
    assert got.differences == pytest.approx(gaps.mean(axis=1), abs=1e-12)
    covariance = np.cov(gaps) / 80
    assert got.item_variance == pytest.approx(
        max(0, (covariance.sum() - np.trace(covariance)) / 6), rel=1e-9, abs=1e-15
    )


def test_auroc_ranks_items_whose_probabilities_are_all_rounded_to_1():
    truth = np.arange(40) % 2
    ratios = 40 + np.arange(40) * 0.5 + 3 * truth
    saturated = np.stack([-ratios, np.zeros(40)], axis=-1)[None]
    assert len(np.unique(class_probabilities(saturated)[0, :, 1])) == 1
    got = inference.measure(saturated, truth, "auroc").values[0]
    assert got == pytest.approx(metrics.roc_auc_score(truth, ratios), abs=1e-12) and got > 0.6


def test_the_mean_over_tasks_adds_what_they_share():
    """Two tasks with the same items and predictions are one; two with other items have half of each variance."""
    first, second, truth = labelled(classes=2, seeds=3, items=200)
    other = labelled(classes=2, seeds=3, items=150, seed=5)
    one, another = difference_of(first, second, truth, "mcc"), difference_of(*other, "mcc")
    twice = inference.infer(inference.average([one, one]), np.tile(np.arange(200), 2))
    alone = inference.infer(one)
    assert twice.clusters == 200 and twice.item_variance == pytest.approx(alone.item_variance, rel=1e-12)
    assert twice.p_value == pytest.approx(alone.p_value, rel=1e-12)
    covariances = [inference.item_covariance(each) for each in (one, another)]
    both = inference.item_covariance(inference.average([one, another]))
    # The corrections for the number of items differ by 1/200.
    assert both == pytest.approx(sum(covariances) / 4, rel=0.01, abs=1e-7)


def test_what_could_have_been_found_is_found_with_the_wanted_power():
    difference = known(0.01, 4e-4, 1e-4, seeds=5, items=613)
    for comparisons in (1, 6):
        size = inference.detectable_difference(difference, comparisons=comparisons)
        level = 1 - 0.05 / comparisons
        power = inference.power_of_difference(size, 4e-4, 1e-4, 5, 613, level)
        assert power == pytest.approx(0.8, abs=1e-4)
    assert inference.detectable_difference(difference, comparisons=6) > inference.detectable_difference(difference)
    refused = inference.paired_difference([[1, 0]], [[0, 1]], [1, 0])
    assert inference.detectable_difference(refused) is None
