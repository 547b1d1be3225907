"""Measures how often the intervals of `dnatune.inference` cover the truth, in simulated comparisons with known truth.

Two methods have runs with the same seeds, which are scored on the same items. A run's score of an item is normal with
variance 1. Its mean follows from the run's true metric. Its variance is the sum of a part common to all runs, a part
common to the runs of a method, a part common to the two runs of a seed, and a part of the run alone. Its true metric
is a base value, plus an effect of the seed on both methods, plus or minus half the difference that the seed makes
between the methods.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import special, stats

from dnatune import inference

#: Shares of an item's score variance common to all runs, to the runs of a method, and to the runs of a seed.
SHARES = {"moderate": (0.5, 0.1, 0.1), "high": (0.8, 0.05, 0.05)}
#: Seed noise: normal; Student's t with 3 degrees of freedom; normal, but one run in ten of the second method collapses.
NOISES = ("normal", "heavy", "collapse")
#: Constructions of an interval; the first is that of `inference.paired_difference`.
CONSTRUCTIONS = ("combined", "Satterthwaite", "paired t", "items", "bootstrap seeds", "bootstrap both")

_COMMON_SD = 0.01
_COLLAPSE_SHARE, _COLLAPSE_DROP = 0.1, 0.3
_BOOTSTRAPS = 1_000
_LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Cell:
    """One setting of the simulation.

    Attributes:
        metric: one of `inference.DIFFERENCE_METRICS`.
        difference: expected true metric of the first method minus that of the second, without collapses.
        items: number of test items.
        correlation: a key of `SHARES`.
        seeds: number of seeds.
        seed_sd: standard deviation of the true difference between seeds.
        base: true metric around which the runs lie.
        prevalence: probability that an item is of class 1.
        noise: one of `NOISES`.
    """

    metric: str
    difference: float
    items: int
    correlation: str
    seeds: int
    seed_sd: float
    base: float = 0.65
    prevalence: float = 0.5
    noise: str = "normal"

    @property
    def truth(self) -> float:
        """Return the expected difference, which the interval must cover."""
        return self.difference + (_COLLAPSE_SHARE * _COLLAPSE_DROP if self.noise == "collapse" else 0)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The results of the replications of a cell.

    Attributes:
        cell: the setting.
        replications: number of simulated comparisons.
        refused: number of comparisons without an interval; they count neither as covered nor as missed.
        coverage: share of intervals that cover the truth, by construction.
        width: mean width, by construction.
        found: share of intervals of the first construction that exclude 0.
        predicted: the same share as `inference.power_of_difference` predicts it from the mean variances of the cell.
    """

    cell: Cell
    replications: int
    refused: int
    coverage: dict[str, float]
    width: dict[str, float]
    found: float
    predicted: float


def grid(metric: str) -> Iterator[Cell]:
    """Yield the cells of the table: all without a difference, and those with five seeds also with a real one."""
    base, real = {"mcc": (0.65, 0.05), "auroc": (0.85, 0.02)}[metric]
    for items in (613, 5920):
        for correlation in SHARES:
            for difference, counts in ((0.0, (3, 5, 10)), (real, (5,))):
                for seeds in counts:
                    for seed_sd in (0, 0.005, 0.02, 0.05):
                        yield Cell(metric, difference, items, correlation, seeds, seed_sd, base)


def stress() -> Iterator[Cell]:
    """Yield cells outside the model of the grid: few errors, few positives, heavy tails, collapsed runs."""
    for seeds in (3, 5):
        for seed_sd in (0, 0.02):
            yield Cell("mcc", 0.0, 613, "high", seeds, seed_sd, base=0.9)
            yield Cell("mcc", 0.0, 613, "high", seeds, seed_sd, prevalence=0.1)
            yield Cell("auroc", 0.0, 613, "high", seeds, seed_sd, base=0.85, prevalence=0.1)
            yield Cell("f1_macro", 0.0, 613, "high", seeds, seed_sd, base=0.8)
        yield Cell("mcc", 0.0, 5920, "high", seeds, 0.02, noise="heavy")
        yield Cell("mcc", 0.0, 5920, "high", seeds, 0.02, noise="collapse")


def simulate(cell: Cell, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the predictions of both methods [seeds, items] and the true classes [items] of one comparison."""
    truth = (generator.random(cell.items) < cell.prevalence).astype(np.int64)
    common = cell.base + _COMMON_SD * generator.standard_normal(cell.seeds)
    if cell.noise == "heavy":
        gap = generator.standard_t(3, cell.seeds) / math.sqrt(3)
    else:
        gap = generator.standard_normal(cell.seeds)
    half = (cell.difference + cell.seed_sd * gap) / 2
    true_metric = np.stack([common + half, common - half])
    if cell.noise == "collapse":
        true_metric[1] -= _COLLAPSE_DROP * (generator.random(cell.seeds) < _COLLAPSE_SHARE)
    shares = SHARES[cell.correlation]
    shapes = ((1, 1, cell.items), (2, 1, cell.items), (1, cell.seeds, cell.items), (2, cell.seeds, cell.items))
    scores = _separation(true_metric, cell)[:, :, None].astype(np.float32) * (2 * truth - 1).astype(np.float32)
    for share, shape in zip((*shares, 1 - sum(shares)), shapes, strict=True):
        scores = scores + np.float32(math.sqrt(share)) * generator.standard_normal(shape, dtype=np.float32)
    first, second = scores if cell.metric == "auroc" else (scores > 0).astype(np.int64)
    return first, second, truth


def difference_of(first: np.ndarray, second: np.ndarray, truth: np.ndarray, metric: str) -> inference.Difference:
    """Return the difference of two methods; arguments as `inference.measure` takes them."""
    return inference.subtract(inference.measure(first, truth, metric), inference.measure(second, truth, metric))


def run_cell(cell: Cell, replications: int, generator: np.random.Generator) -> Outcome:
    """Simulate a cell and count how often each construction covers the truth."""
    found = [difference_of(*simulate(cell, generator), cell.metric) for _ in range(replications)]
    kept = [(one.values, inference.item_covariance(one)) for one in found if np.ptp(one.values) > 0]
    differences, covariance = np.stack([d for d, _ in kept]), np.stack([c for _, c in kept])
    limits = intervals(differences, covariance, cell.items, generator)
    low, high = limits[CONSTRUCTIONS[0]]
    seed_variance, item_variance = (
        float(part.mean()) for part in inference.variance_components(differences, covariance)
    )
    return Outcome(
        cell,
        replications,
        replications - len(kept),
        {name: float(((low <= cell.truth) & (cell.truth <= high)).mean()) for name, (low, high) in limits.items()},
        {name: float((high - low).mean()) for name, (low, high) in limits.items()},
        float(((low > 0) | (high < 0)).mean()),
        inference.power_of_difference(cell.truth, seed_variance, item_variance, cell.seeds, cell.items, _LEVEL),
    )


def intervals(
    differences: np.ndarray, covariance: np.ndarray, items: int, generator: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return lower and upper 95 % limits [replications] for each of `CONSTRUCTIONS`.

    Args:
        differences: [replications, seeds].
        covariance: covariance over samples of items [replications, seeds, seeds].
        items: number of test items.
        generator: source of the bootstrap draws.
    """
    replications, seeds = differences.shape
    mean = differences.mean(axis=1)
    seed_variance, item_variance = inference.variance_components(differences, covariance)
    total = seed_variance / seeds + item_variance
    degrees = total**2 / ((seed_variance / seeds) ** 2 / (seeds - 1) + item_variance**2 / (items - 1))
    tail = (1 - _LEVEL) / 2
    half_widths = {
        "combined": inference.half_width(seed_variance, item_variance, seeds, items, 1 - _LEVEL),
        "Satterthwaite": stats.t.isf(tail, degrees) * np.sqrt(total),
        "paired t": stats.t.isf(tail, seeds - 1) * np.sqrt(seed_variance / seeds),
        "items": stats.norm.isf(tail) * np.sqrt(covariance.mean(axis=(1, 2))),
    }
    limits = {name: (mean - half, mean + half) for name, half in half_widths.items()}
    # To first order, a sample of items shifts the seeds' differences by a normal vector with this covariance.
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(seeds))
    of_seeds, of_both = np.empty((2, replications)), np.empty((2, replications))
    for index in range(replications):
        chosen = generator.integers(seeds, size=(_BOOTSTRAPS, seeds))
        moved = differences[index] + generator.standard_normal((_BOOTSTRAPS, seeds)) @ root[index].T
        of_seeds[:, index] = np.quantile(differences[index][chosen].mean(axis=1), (tail, 1 - tail))
        of_both[:, index] = np.quantile(np.take_along_axis(moved, chosen, axis=1).mean(axis=1), (tail, 1 - tail))
    return limits | {"bootstrap seeds": tuple(of_seeds), "bootstrap both": tuple(of_both)}


def overview(outcomes: Sequence[Outcome]) -> str:
    """Return the coverage of the first construction as a Markdown table, one column per standard deviation of seeds.

    If there is a real difference, the shares of comparisons that found it, observed and predicted, follow in brackets.
    """
    rows: dict[tuple[str, ...], dict[float, str]] = {}
    for outcome in outcomes:
        cell = outcome.cell
        text = f"{outcome.coverage[CONSTRUCTIONS[0]]:.3f}"
        if cell.truth:
            text += f" ({outcome.found:.3f}, {outcome.predicted:.3f})"
        key = (f"{cell.truth:g}", f"{cell.items:,}", cell.correlation, str(cell.seeds))
        rows.setdefault(key, {})[cell.seed_sd] = text
    deviations = sorted({outcome.cell.seed_sd for outcome in outcomes})
    head = ["Δ", "items", "correlation", "seeds", *(f"seed sd {deviation:g}" for deviation in deviations)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join([*key, *(texts.get(d, '') for d in deviations)])} |" for key, texts in rows.items()]
    return "\n".join(lines)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a Markdown table, one row per cell."""
    head = ["metric", "base", "class 1", "noise", "Δ", "items", "correlation", "seeds", "seed sd", *CONSTRUCTIONS]
    head += ["width", "finds Δ", "predicted", "refused"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for outcome in outcomes:
        cell = outcome.cell
        row = [
            *(cell.metric, f"{cell.base:g}", f"{cell.prevalence:g}", cell.noise, f"{cell.truth:g}", f"{cell.items:,}"),
            *(cell.correlation, str(cell.seeds), f"{cell.seed_sd:g}"),
            *(f"{outcome.coverage[name]:.3f}" for name in CONSTRUCTIONS),
            *(f"{outcome.width[CONSTRUCTIONS[0]]:.4f}", f"{outcome.found:.3f}", f"{outcome.predicted:.3f}"),
            str(outcome.refused),
        ]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return the least and greatest coverage of each construction, and the number of cells below the expected range."""
    least = lowest_expected(outcomes[0].replications)
    lines = [
        f"| construction | least | greatest | cells below {least:.3f} | mean width ÷ combined |",
        "|---|---|---|---|---|",
    ]
    for name in CONSTRUCTIONS:
        shares = [outcome.coverage[name] for outcome in outcomes]
        ratio = np.mean([outcome.width[name] / outcome.width[CONSTRUCTIONS[0]] for outcome in outcomes])
        below = sum(share < least for share in shares)
        lines.append(f"| {name} | {min(shares):.3f} | {max(shares):.3f} | {below} of {len(shares)} | {ratio:.2f} |")
    return "\n".join(lines)


def lowest_expected(replications: int) -> float:
    """Return the coverage below which a true 95 % interval falls in one of 200 cells: the two-sided 99 % bound."""
    return float(stats.binom.ppf(0.005, replications, _LEVEL) / replications)


def _separation(true_metric: np.ndarray, cell: Cell) -> np.ndarray:
    """Return the mean score of class 1 with which a run has its true metric [2, seeds]; class 0 has minus that mean.

    Scores have variance 1 and the threshold is 0, so the accuracy is Φ(separation) in both classes.
    """
    metric = np.clip(true_metric, 0.01, 0.99)
    if cell.metric == "auroc":
        return special.ndtri(metric) / math.sqrt(2)
    if cell.metric == "f1_macro":
        # With balanced classes, precision, recall and F1 of both classes equal the accuracy.
        return special.ndtri(metric)
    both = cell.prevalence * (1 - cell.prevalence)
    # MCC = x √both / √(1/4 - (prevalence - 1/2)² x²) solved for x = 2 Φ(separation) - 1.
    gain = metric / 2 / np.sqrt(both + metric**2 * (cell.prevalence - 0.5) ** 2)
    return special.ndtri((1 + gain) / 2)
