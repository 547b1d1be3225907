"""Measures how often the verdicts of `dnatune.inference` are false, and how often intervals cover, where it is hard.

Runs give each item a log-ratio of two classes: bias + separation × (±1 by class) + noise. The noise has a part common
to all runs, a part common to the runs of a method, a part common to the runs of a seed, and a part of the run alone. A
run whose bias is far from 0 gives one answer to all items. In each scenario but `collapse` the two methods are
exchangeable, so that every difference found is a false one.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special, stats

from dnatune import inference

PREVALENCES, ITEMS, SEEDS = (0.5, 0.05), (250, 613, 5_920), (3, 5, 10)
METRICS = ("mcc", "auroc", "log_loss")
#: constant: a fifth of the runs or more give one answer. collapse: only those of the first method, so that it is truly
#: worse. clusters: items in groups of ten that share most of their noise. control: one of six fixed classifiers, chosen
#: by its dev score. tasks: the mean over three tasks, of which the second has half of the first's sequences.
SCENARIOS = ("constant", "collapse", "clusters", "control", "tasks")
_SEPARATION, _LEVEL, _CLUSTER, _CONTROLS = 0.7, 0.95, 10, 6
#: Shares of the noise's variance: common to all runs, to the runs of a method, to the runs of a seed, of the run alone.
_SHARES = (0.4, 0.3, 0.05, 0.25)
#: Bias of runs that tell classes apart at their threshold, and its spread over seeds; the same of runs that may not.
_STEADY = {0.5: (0.0, 0.2), 0.05: (-1.0, 0.2)}
_LOOSE = {0.5: (0.0, 3.5), 0.05: (-2.5, 2.0)}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of the simulation: a scenario, the share of class 1, the number of items, the number of seeds."""

    scenario: str
    prevalence: float
    items: int
    seeds: int


@dataclasses.dataclass(frozen=True)
class Count:
    """What the replications of a cell gave for one metric.

    Attributes:
        cell, metric: of what.
        replications: number of simulated comparisons.
        withheld: of these, comparisons without a test: every run of both gives one answer to all items, or too few
            items are of class 1.
        constant: share of the runs that give one answer to all items.
        missed: intervals of tests that do not cover the expected difference; without a true one, the false verdicts.
        false: verdicts that name the wrong method the better one, or any if there is no difference.
        naive: the same of the simpler interval that the scenario argues against: items as if they were independent
            (clusters), the control with the best test score (control), tasks as if they were independent (tasks).
    """

    cell: Cell
    metric: str
    replications: int
    withheld: int
    constant: float
    missed: int
    false: int
    naive: int | None

    @property
    def tested(self) -> int:
        """Return the number of comparisons with a test."""
        return self.replications - self.withheld


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One simulated comparison.

    Attributes:
        seeds, metric: of what.
        pair: what the library makes of it.
        constant: share of its runs that give one answer to all items.
        naive: whether the simpler interval of `Count` excludes 0.
    """

    seeds: int
    metric: str
    pair: inference.PairedDifference
    constant: float = 0.0
    naive: bool = False


def cells() -> Iterator[Cell]:
    """Yield all settings."""
    for setting in itertools.product(SCENARIOS, PREVALENCES, ITEMS, SEEDS):
        yield Cell(*setting)


def most_expected(tested: int, tests: int) -> int:
    """Return the count that a share of 5 % exceeds in one of twenty tables of `tests` counts (Bonferroni)."""
    return int(stats.binom.isf((1 - _LEVEL) / tests, tested, 1 - _LEVEL))


def run(
    scenario: str, prevalence: float, items: int, replications: int, seed: int, seeds: Sequence[int] = SEEDS
) -> list[Count]:
    """Simulate the cells of a scenario; those of fewer seeds take the first runs of those of more.

    Args:
        scenario, prevalence, items: of the cells.
        replications: simulated comparisons per cell.
        seed: of the random numbers; each scenario, prevalence and number of items has its own stream.
        seeds: numbers of seeds.
    """
    stream = [SCENARIOS.index(scenario), PREVALENCES.index(prevalence), items]
    generator = np.random.default_rng([seed, *stream])
    of = {"clusters": _clusters, "control": _control, "tasks": _tasks}.get(scenario, _two_methods)
    found: dict[tuple[int, str], list[Comparison]] = {}
    for _ in range(replications):
        for one in of(scenario, prevalence, items, seeds, generator):
            found.setdefault((one.seeds, one.metric), []).append(one)
    return [_count(Cell(scenario, prevalence, items, number), metric, made) for (number, metric), made in found.items()]


def _count(cell: Cell, metric: str, found: Sequence[Comparison]) -> Count:
    tested = [one for one in found if one.pair.p_value is not None]
    pairs = [one.pair for one in tested]
    truth = 0.0
    if cell.scenario == "collapse":
        # Nothing but the mean of the replications is known; its error is 1/√replications of an interval's.
        truth = float(np.mean([np.mean(one.pair.differences) for one in found]))
    missed = sum(not pair.interval.low <= truth <= pair.interval.high for pair in pairs)
    found_other_way = sum(pair.p_value <= 1 - _LEVEL and pair.interval.estimate * truth <= 0 for pair in pairs)
    naive = sum(one.naive for one in tested) if cell.scenario in ("clusters", "control", "tasks") else None
    constant = float(np.mean([one.constant for one in found]))
    return Count(cell, metric, len(found), len(found) - len(tested), constant, missed, found_other_way, naive)


def _rejects(pair: inference.PairedDifference) -> bool:
    return pair.interval.low is not None and not pair.interval.low <= 0 <= pair.interval.high


def _draw_classes(prevalence: float, items: int, generator: np.random.Generator) -> np.ndarray:
    """Return the classes of items; there are two of each at least, without which no metric is defined."""
    while True:
        truth = (generator.random(items) < prevalence).astype(np.int64)
        if 2 <= truth.sum() <= items - 2:
            return truth


def noise_parts(
    methods: int, seeds: int, groups: np.ndarray, within: float, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Return what is common to all runs [1, 1, items], to those of a method [methods, 1, items], of a seed and alone.

    Args:
        methods, seeds: number of runs.
        groups: the group of each item [items], from 0.
        within: share of the first two parts' variance that the items of a group have in common.
        generator: of the random numbers.
    """
    items, number = len(groups), groups.max() + 1
    shapes = ((1, 1), (methods, 1), (1, seeds), (methods, seeds))
    for place, (share, shape) in enumerate(zip(_SHARES, shapes, strict=True)):
        drawn = generator.standard_normal((*shape, items), dtype=np.float32)
        if within and place < 2:
            common = generator.standard_normal((*shape, number), dtype=np.float32)[..., groups]
            drawn = np.float32(within**0.5) * common + np.float32((1 - within) ** 0.5) * drawn
        yield np.float32(share**0.5) * drawn


def _measure(ratios: np.ndarray, truth: np.ndarray, metric: str) -> inference.Measured:
    """Return a metric of runs from their log-ratios [runs, items]."""
    if metric == "mcc":
        return inference.measure((ratios > 0).astype(np.int64), truth, metric)
    if metric == "auroc":
        return inference.measure(ratios, truth, metric)
    return inference.measure(np.stack([special.log_expit(-ratios), special.log_expit(ratios)], axis=-1), truth, metric)


def _two_methods(scenario, prevalence, items, seeds, generator):
    truth, most = _draw_classes(prevalence, items, generator), max(seeds)
    spreads = [_LOOSE[prevalence], _LOOSE[prevalence] if scenario == "constant" else _STEADY[prevalence]]
    bias = np.stack([mean + spread * generator.standard_normal(most) for mean, spread in spreads])
    noise = sum(noise_parts(2, most, np.arange(items), 0.0, generator))
    ratios = (noise + bias[:, :, None] + _SEPARATION * (2 * truth - 1)).reshape(2 * most, items)
    for metric in METRICS:
        measured = _measure(ratios, truth, metric)
        for number in seeds:
            constant = float(np.mean(measured.of([*range(number), *range(most, most + number)]).constant))
            yield Comparison(number, metric, _pair(measured, most, number), constant)


def _pair(
    measured: inference.Measured, most: int, seeds: int, clusters: np.ndarray | None = None
) -> inference.PairedDifference:
    """Return the first runs of the first method against those of the second, which start at place `most`."""
    return inference.infer(_difference(measured, most, seeds), clusters, _LEVEL)


def _difference(measured: inference.Measured, most: int, seeds: int) -> inference.Difference:
    return inference.subtract(measured.of(range(seeds)), measured.of(range(most, most + seeds)))


def _clusters(_, prevalence, items, seeds, generator):
    truth, most, groups = _draw_classes(prevalence, items, generator), max(seeds), np.arange(items) // _CLUSTER
    mean, spread = _STEADY[prevalence]
    bias = mean + spread * generator.standard_normal((2, most))
    noise = sum(noise_parts(2, most, groups, 0.6, generator))
    ratios = (noise + bias[:, :, None] + _SEPARATION * (2 * truth - 1)).reshape(2 * most, items)
    for metric in METRICS:
        measured = _measure(ratios, truth, metric)
        for number in seeds:
            pair, naive = _pair(measured, most, number, groups), _pair(measured, most, number)
            yield Comparison(number, metric, pair, naive=_rejects(naive))


def _control(_, prevalence, items, seeds, generator):
    """Six controls of the same quality, as good as the method, whose runs differ by noise alone."""
    most, mean = max(seeds), _STEADY[prevalence][0]
    scores = []
    for runs in (0, most):
        truth = _draw_classes(prevalence, items, generator)
        common, own, seed, alone = noise_parts(1 + _CONTROLS, runs + 1, np.arange(items), 0.0, generator)
        signal = mean + _SEPARATION * (2 * truth - 1)
        method = (signal + common[0] + own[0] + seed[0] + alone[0])[:runs]
        controls = signal + common[0] + own[1:, 0] + seed[0, -1] + alone[1:, -1]
        ratios = np.concatenate([method, controls])
        scores.append({metric: _measure(ratios, truth, metric) for metric in METRICS})
    dev, test = scores
    for metric in METRICS:
        sign = -1 if metric in inference.LOWER_IS_BETTER else 1
        chosen = most + int(np.argmax(sign * dev[metric].values))
        best = most + int(np.argmax(sign * test[metric].values[most:]))
        for number in seeds:
            method = test[metric].of(range(number))
            pair, naive = (
                inference.infer(inference.subtract(method, test[metric].of([place] * number)), None, _LEVEL)
                for place in (chosen, best)
            )
            yield Comparison(number, metric, pair, naive=_rejects(naive))


def _tasks(_, prevalence, items, seeds, generator):
    """Half of the first task's sequences are all of the second's; methods find the same sequences hard in both."""
    most, (mean, spread) = max(seeds), _STEADY[prevalence]
    places = [np.arange(items), np.arange(items // 2), items + np.arange(items // 2)]
    everything = items + items // 2
    while True:
        truth = _draw_classes(prevalence, everything, generator)
        if all(2 <= truth[place].sum() <= len(place) - 2 for place in places):
            break
    common, own, *_ = noise_parts(2, 1, np.arange(everything), 0.0, generator)
    shared_bias = spread * generator.standard_normal((2, most))
    measured = []
    for place in places:
        bias = mean + shared_bias + spread * generator.standard_normal((2, most))
        *_, seed, alone = noise_parts(2, most, np.arange(len(place)), 0.0, generator)
        signal = common[:, :, place] + own[:, :, place] + _SEPARATION * (2 * truth[place] - 1)
        ratios = (signal + seed + alone + bias[:, :, None]).reshape(2 * most, len(place))
        measured.append({metric: _measure(ratios, truth[place], metric) for metric in METRICS})
    sequences = np.concatenate(places)
    for metric, number in itertools.product(METRICS, seeds):
        differences = [_difference(one[metric], most, number) for one in measured]
        pair = inference.infer(inference.average(differences), sequences, _LEVEL)
        each = [inference.infer(one, None, _LEVEL) for one in differences]
        yield Comparison(number, metric, pair, naive=_independent_rejects(each))


def _independent_rejects(each: Sequence[inference.PairedDifference]) -> bool:
    """Return whether the mean over tasks differs from 0 if variances are added as if tasks shared nothing."""
    if any(one.seed_variance is None for one in each):
        return False
    of_seeds, of_items = (
        sum(getattr(one, part) for one in each) / len(each) ** 2 for part in ("seed_variance", "item_variance")
    )
    limiting = min(one.limiting for one in each)
    half = inference.half_width(of_seeds, of_items, each[0].seeds, limiting, 1 - _LEVEL)
    return bool(abs(np.mean([one.interval.estimate for one in each])) > half)


def table(counts: Sequence[Count]) -> str:
    """Return the counts as a Markdown table: a row per cell; of each metric the shares missed and withheld."""
    head = ["scenario", "class 1", "items", "seeds", *METRICS, "constant runs", "withheld", "naive"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    by_cell: dict[Cell, dict[str, Count]] = {}
    for count in counts:
        by_cell.setdefault(count.cell, {})[count.metric] = count
    for cell, found in by_cell.items():
        shares = [_share(found[name].missed, found[name].tested) for name in METRICS]
        mcc = found["mcc"]
        withheld = [f"{mcc.constant:.2f}", f"{mcc.withheld / mcc.replications:.3f}"]
        naive = " ".join(_share(one.naive, one.tested) for one in map(found.get, METRICS) if one.naive is not None)
        row = [cell.scenario, f"{cell.prevalence:g}", f"{cell.items:,}", str(cell.seeds), *shares, *withheld, naive]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _share(count: int, tested: int) -> str:
    return f"{count / tested:.3f}" if tested else "–"


def summary(counts: Sequence[Count]) -> str:
    """Return, per scenario and metric, least and greatest share missed, and the cells beyond the bound."""
    head = ["scenario", "metric", "least", "greatest", "cells beyond the bound", "false verdicts at most"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for scenario, metric in itertools.product(SCENARIOS, METRICS):
        own = [one for one in counts if (one.cell.scenario, one.metric) == (scenario, metric) and one.tested]
        if own:
            shares = [one.missed / one.tested for one in own]
            beyond = sum(one.missed > most_expected(one.tested, len(counts)) for one in own)
            false = max(one.false / one.tested for one in own)
            row = [
                scenario,
                metric,
                f"{min(shares):.3f}",
                f"{max(shares):.3f}",
                f"{beyond} of {len(own)}",
                f"{false:.3f}",
            ]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)
