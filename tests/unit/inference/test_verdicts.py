"""Tests beside the interval, sizes, verdicts and seeds needed, against independent implementations and known truths."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats
from test_statistics import known, labelled

from dnatune import inference
from dnatune.inference import reasons


def test_mcnemar_is_exact():
    truth = np.ones(19)
    first = np.repeat([1, 0, 1], [11, 3, 5])
    second = np.repeat([0, 1, 1], [11, 3, 5])
    got = inference.mcnemar_exact(first, second, truth)
    # statsmodels 0.15.0: mcnemar([[50, 11], [3, 20]], exact=True).pvalue; agreeing items do not count.
    assert (got.only_a, got.only_b, got.p_value) == (11, 3, pytest.approx(0.057373046875, abs=1e-12))
    tail = sum(math.comb(14, k) for k in range(4)) / 2**14
    assert got.p_value == pytest.approx(2 * tail, abs=1e-12)


def test_mcnemar_of_a_model_with_itself_is_one():
    assert inference.mcnemar_exact([0, 1, 2], [0, 1, 2], [0, 1, 1]) == inference.McNemar(0, 0, 1.0)


@pytest.mark.parametrize("labels", [([], [], []), ([1, 0], [1], [1, 0]), ([[1]], [[1]], [[1]]), ([math.nan], [1], [1])])
def test_mcnemar_is_refused_with_a_reason(labels):
    got = inference.mcnemar_exact(*labels)
    assert got.p_value is None and got.reason


def test_holm():
    p_values = [0.01, 0.04, 0.03, 0.005, 0.2, 0.04]
    # statsmodels 0.15.0: multipletests(p_values, method="holm")[1].
    assert inference.holm(p_values) == pytest.approx([0.05, 0.12, 0.12, 0.03, 0.2, 0.12], abs=1e-12)
    assert inference.holm([]) == []


def test_holm_is_the_closed_test_of_bonferroni():
    p_values = np.random.default_rng(0).beta(0.5, 3, 5).tolist()
    subsets = [set(s) for size in range(1, 6) for s in itertools.combinations(range(5), size)]
    expected = [max(min(1, len(s) * min(p_values[k] for k in s)) for s in subsets if i in s) for i in range(5)]
    assert inference.holm(p_values) == pytest.approx(expected, abs=1e-12)


def test_holm_leaves_out_what_was_not_tested():
    assert inference.holm([0.02, None, 0.03, math.nan]) == [pytest.approx(0.04), None, pytest.approx(0.04), None]


def test_probability_of_improvement_has_exact_limits():
    everywhere = inference.probability_of_improvement([0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.5, 0.6, 0.7, 0.8])
    # All of n seeds: the lower limit solves pⁿ = .025.
    assert (everywhere.estimate, everywhere.low, everywhere.high) == (1, pytest.approx(0.025**0.2), 1)
    tied = inference.probability_of_improvement([1, 2, 3, 4], [0, 2, 3, 5])
    assert tied.estimate == 0.5
    assert tied.low == pytest.approx(stats.beta.ppf(0.025, 1, 4)) and tied.high == pytest.approx(
        stats.beta.ppf(0.975, 4, 1)
    )


def test_equal_runs_show_no_improvement():
    got = inference.probability_of_improvement([0.5] * 3, [0.5] * 3)
    assert (got.estimate, got.low, got.high) == (0.5, 0, 1)


def test_effect_size_with_hedges_correction():
    a, b = np.array([0.5, 0.6, 0.7]), np.array([0.4, 0.45, 0.62])
    got = inference.effect_size(a, b)
    plain = (a - b).mean() / (a - b).std(ddof=1)
    # J(2) = Γ(1) / (√1 Γ(1/2)) = 1/√π.
    assert got.estimate == pytest.approx(plain / math.sqrt(math.pi), rel=1e-12)
    t = plain * math.sqrt(3)
    tails = stats.nct.cdf(t, 2, np.array([got.low, got.high]) * math.sqrt(3))
    assert tails == pytest.approx([0.975, 0.025], abs=1e-8)
    # The limits exclude 0 exactly if the t-test rejects.
    assert (got.low > 0) == (stats.ttest_rel(a, b).pvalue < 0.05)


@pytest.mark.parametrize("of", [inference.effect_size, inference.probability_of_improvement])
@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([1, 2, 3], [1, 2], "cannot be paired"),
        ([1, 2], [0, 1], reasons.too_few(2)),
        ([1, 2, math.nan], [0, 1, 2], "finite"),
        ([[1, 2, 3]], [[0, 1, 2]], "shape (1, 3)"),
        (0.5, 0.5, "shape ()"),
    ],
)
def test_sizes_over_seeds_are_refused_with_a_reason(of, a, b, reason):
    got = of(a, b)
    assert reason in got.reason and (got.estimate, got.low, got.high) == (None, None, None)


@pytest.mark.parametrize("t", [-44, 3, 60, 400])
def test_effect_sizes_far_from_zero_have_their_limits(t):
    a = np.array([-1.0, 0.0, 1.0]) + t / math.sqrt(3)
    got = inference.effect_size(a, np.zeros(3))
    limits = np.sort(np.sign(t) * np.array([got.low, got.high])) * math.sqrt(3)
    tails = stats.nct.cdf(abs(t), 2, limits)
    assert tails == pytest.approx([0.975, 0.025], abs=1e-6)


def test_effect_size_needs_a_spread():
    assert "same value" in inference.effect_size([1.5, 2.5, 3.5], [1, 2, 3]).reason


@pytest.mark.parametrize(
    ("estimate", "spread", "p_value", "word", "within", "words"),
    [
        (0.05, 1e-5, 0.001, "better", False, "A is better than B (MCC +0.0500"),
        (-0.05, 1e-5, 0.001, "worse", False, "A is worse than B"),
        (0.004, 1e-6, 0.01, "better", True, "better than B, by less than 0.01: practically equivalent"),
        (-0.004, 1e-6, 0.01, "worse", True, "worse than B, by less than 0.01: practically equivalent"),
        (0.001, 1e-6, 0.4, "equivalent", True, "differ by less than 0.01 (90 % interval"),
        (0.001, 1e-3, 0.9, "inconclusive", False, "neither a difference nor equivalence within 0.01 is shown"),
        # The interval excludes 0, but Holm's p-value is above α: the p-value decides.
        (0.05, 1e-4, 0.2, "inconclusive", False, "adjusted p = 0.200"),
    ],
)
def test_verdicts(estimate, spread, p_value, word, within, words):
    got = inference.verdict(known(estimate, spread, 0.0), 0.01, p_value)
    assert (got.word, got.within_margin) == (word, within)
    assert words in got.sentence


def test_verdict_names_what_adjusting_cost():
    first, second, truth = labelled(classes=2, seeds=5, items=400)
    difference = inference.paired_difference(first, second, truth)
    assert difference.p_value < 0.05
    assert inference.verdict(difference, 0.01, difference.p_value).word != "inconclusive"
    adjusted = inference.verdict(difference, 0.01, 0.3)
    assert adjusted.word == "inconclusive" and "single comparison" in adjusted.sentence
    unclear = inference.verdict(dataclasses.replace(difference, p_value=0.2), 0.01, 0.3)
    assert "single comparison" not in unclear.sentence


def test_without_a_margin_nothing_is_equivalent():
    got = inference.verdict(known(0.0001, 1e-8, 0.0), None, 0.5, names=("rk4", "adamw"))
    assert got.word == "inconclusive" and "rk4 and adamw: neither a difference nor its absence" in got.sentence


def test_equivalence_is_claimed_wrongly_in_one_case_of_twenty_at_most():
    """Two one-sided tests, normal data and five seeds, with a true difference equal to the margin."""
    generator, margin, count = np.random.default_rng(0), 0.02, 0
    for _ in range(2_000):
        values = generator.normal(margin, 0.01, 5)
        difference = known(values.mean(), values.var(ddof=1), 0.0)
        count += inference.verdict(difference, margin, 1.0).word == "equivalent"
    # Theory gives exactly 5 %; these are the 99.9 % bounds for a share of 2,000.
    assert 0.035 < count / 2_000 < 0.066


def test_seeds_needed_is_the_smallest_number_that_suffices():
    difference = known(0.01, 0.02**2, 0.004**2)
    answer = inference.seeds_needed(difference, 0.02)
    power = [inference.power_of_difference(0.02, 0.02**2, 0.004**2, seeds, 5920) for seeds in range(2, 40)]
    assert power[answer.seeds - 2] >= 0.8 > power[answer.seeds - 3]
    assert answer.power_now == pytest.approx(power[3]) and f"{answer.seeds} seeds are needed" in answer.sentence


def test_seeds_needed_among_many_comparisons_are_those_at_a_share_of_the_level():
    difference = inference.PairedDifference(
        "mcc", 5, 5920, 5920, 5920, (), inference.Interval(0.0, -1, 1, 0.95), 0.5, 4e-4, 1e-6
    )
    strict = dataclasses.replace(difference, interval=dataclasses.replace(difference.interval, level=1 - 0.05 / 15))
    one, many, alone = (
        inference.seeds_needed(difference, 0.03),
        inference.seeds_needed(difference, 0.03, comparisons=15),
        inference.seeds_needed(strict, 0.03),
    )
    assert one.seeds < many.seeds == alone.seeds
    assert many.power_now == pytest.approx(alone.power_now) and many.power_now < one.power_now
    assert "among 15 comparisons" in many.sentence


def test_a_small_test_set_is_said_to_be_too_small():
    answer = inference.seeds_needed(known(0.01, 0.02**2, 0.02**2, items=613), 0.02)
    assert answer.seeds is None and "test set of 613 items is too small" in answer.sentence
    # Without seed noise, 80 % power needs a standard error of Δ/2.80; the variance falls as 1/items.
    items = 613 * 0.02**2 * ((1.959964 + 0.841621) / 0.02) ** 2
    assert f"{math.ceil(items):,} items" in answer.sentence
    assert inference.seeds_needed(known(0.01, 0.02**2, 0.02**2 * 613 / (1.1 * items)), 0.02).seeds is not None


def test_a_hopeless_difference_is_said_to_need_too_many_seeds():
    assert "More than 10,000 seeds" in inference.seeds_needed(known(0.01, 1.0, 0.0), 0.01).sentence
