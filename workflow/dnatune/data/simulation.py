"""Simulated core promoters from a generative model whose Bayes-optimal classifier is known exactly.

A non-promoter is a row of independent bases. A promoter is the same with its own GC content, and each of
TATA box, initiator (Inr) and downstream promoter element (DPE) is written over it independently with a set
probability, at a set distance from the transcription start site give or take a few bases, drawn column by
column from a published count matrix. `docs/simulated-data.md` has sources, likelihood and measured ceilings.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

from dnatune.data.sequences import UNKNOWN, base_codes, sequence_of
from dnatune.errors import DataError
from dnatune.settings.simulation import DPE, INR, TATA, Element, SimulationSettings


@dataclasses.dataclass(frozen=True)
class Motif(Element):
    """A promoter element with its bases.

    Attributes:
        counts: sites with A, C, G, T (inner) in each column (outer).
        source: where the counts were published and where they were read.
    """

    counts: tuple[tuple[int, int, int, int], ...]
    source: str

    @functools.cached_property
    def log_probabilities(self) -> np.ndarray:
        """Log-probability of each base in each column, float64 [width, 4], nats.

        A quarter of a site is added to every cell (one pseudo-site a column): the counts have zeros, and a
        base not seen in a few hundred sites is rare, not impossible.
        """
        counts = np.array(self.counts, dtype=np.float64) + 0.25
        return np.log(counts / counts.sum(axis=1, keepdims=True))


def _columns(a: str, c: str, g: str, t: str) -> tuple[tuple[int, int, int, int], ...]:
    rows = [[int(count) for count in row.split()] for row in (a, c, g, t)]
    return tuple(zip(*rows, strict=True))


#: From upstream to downstream.
MOTIFS = (
    Motif(
        *dataclasses.astuple(TATA),
        # JASPAR's POL012.1 is the same matrix with a slip (10 for 20 in column 7), which MA0108.2 puts right.
        _columns(
            " 61  16 352   3 354 268 360 222 155  56  83  82  82  68  77",
            "145  46   0  10   0   0   3   2  44 135 147 127 118 107 101",
            "152  18   2   2   5   0  20  44 157 150 128 128 128 139 140",
            " 31 309  35 374  30 121   6 121  33  48  31  52  61  75  71",
        ),
        "Bucher 1990, J Mol Biol 212:563; JASPAR MA0108.2, 389 sites",
    ),
    Motif(
        *dataclasses.astuple(INR),
        _columns(
            " 49   0 288  26  77  67  45  50",
            " 48 303   0  81  95 118  85  96",
            " 69   0   0 116   0  46  73  56",
            "137   0  15  80 131  72 100 101",
        ),
        "Bucher 1990, J Mol Biol 212:563 (cap signal); JASPAR POL002.1, 303 sites",
    ),
    Motif(
        *dataclasses.astuple(DPE),
        _columns(
            "24 36 41  2 43  7 16 15 19",
            "18 21  3 30  2 30 31 21 22",
            "30  6 28 47  1  4 35 11 17",
            "10 19 10  3 36 41  0 35 24",
        ),
        "Kutach & Kadonaga 2000, Mol Cell Biol 20:4754; JASPAR POL005.1, 82 sites",
    ),
)


def simulate(settings: SimulationSettings) -> dict[str, list[tuple[str, int]]]:
    """Return the splits `train`, `dev` and `test` as lists of (sequence, class), 1 for a promoter.

    Each split has a random stream of its own and grows by appending: a larger split begins with the smaller
    one, and the sizes of train and dev do not touch test. No sequence occurs twice, in one split or in two:
    the later draw is dropped, where test comes first and train last.
    """
    streams = dict(zip(("test", "dev", "train"), np.random.SeedSequence(settings.seed).spawn(3), strict=True))
    seen: set[str] = set()
    drawn = {}
    for split, stream in streams.items():
        generator = np.random.default_rng(stream)
        drawn[split] = _draw_distinct(settings, generator, getattr(settings, f"{split}_size"), seen)
    return {split: drawn[split] for split in ("train", "dev", "test")}


def _draw_distinct(
    settings: SimulationSettings, generator: np.random.Generator, size: int, seen: set[str]
) -> list[tuple[str, int]]:
    """Return `size` examples whose sequences are not in `seen`, and add them to it."""
    examples: list[tuple[str, int]] = []
    while len(examples) < size:
        for sequence, label in _draw_block(settings, generator):
            if len(examples) < size and sequence not in seen:
                seen.add(sequence)
                examples.append((sequence, label))
    return examples


def _draw_block(
    settings: SimulationSettings, generator: np.random.Generator, rows: int = 1024
) -> list[tuple[str, int]]:
    """Return `rows` independent examples. Blocks have one size, so that splits of any size share a stream."""
    labels = generator.random(rows) < settings.promoter_fraction
    gc = np.where(labels, settings.promoter_gc, settings.background_gc)[:, None]
    strong = generator.random((rows, settings.length)) < gc
    second = generator.random((rows, settings.length)) < 0.5
    # Base codes follow ACGT: A or T (0, 3) where weak, C or G (1, 2) where strong.
    codes = np.where(strong, 1 + second, 3 * second)
    for motif in MOTIFS:
        present = labels & (generator.random(rows) < settings.probability(motif))
        starts = generator.choice(settings.placements(motif), rows)
        cumulative = np.exp(motif.log_probabilities).cumsum(axis=1)[:, :3]
        draws = generator.random((rows, len(motif.counts)))
        site = (draws[:, :, None] >= cumulative[None]).sum(axis=2)
        chosen = np.flatnonzero(present)
        columns = starts[chosen, None] + np.arange(len(motif.counts))
        codes[chosen[:, None], columns] = site[chosen]
    return [(sequence_of(row), int(label)) for row, label in zip(codes, labels, strict=True)]


def log_likelihood_ratio(sequences: Sequence[str], settings: SimulationSettings) -> np.ndarray:
    """Return log p(sequence | promoter) − log p(sequence | non-promoter), exactly, float64 [n], nats.

    The windows of two elements never overlap, so the sum over the presence and placement of all of them is a
    product over elements m. With its columns Mₘ, its placements Sₘ and its probability πₘ, and with the base
    probabilities f₁ of a promoter and f₀ of a non-promoter:

        Σᵢ log f₁(xᵢ)/f₀(xᵢ) + Σₘ log[(1 − πₘ) + πₘ/|Sₘ| Σ_{s∈Sₘ} Πⱼ Mₘ(j, x_{s+j})/f₁(x_{s+j})]

    Raises:
        DataError: a sequence has another length than the settings', or a letter other than A, C, G and T.
    """
    codes = _encode(sequences, settings.length)
    promoter = _log_base_probabilities(settings.promoter_gc)
    background = _log_base_probabilities(settings.background_gc)
    ratio = (promoter - background)[codes].sum(axis=1)
    for motif in MOTIFS:
        probability, starts = settings.probability(motif), settings.placements(motif)
        # [width, 4], looked up by the column's index and the base found there.
        weights = motif.log_probabilities - promoter
        column = np.arange(len(weights))
        sites = [weights[column, codes[:, start + column]].sum(axis=1) for start in starts]
        with np.errstate(divide="ignore"):  # log 0 = −∞ is right for an element always or never there
            absent, present = np.log([1 - probability, probability])
        ratio += np.logaddexp(absent, present - math.log(len(starts)) + np.logaddexp.reduce(sites, axis=0))
    return ratio


def bayes_posterior(sequences: Sequence[str], settings: SimulationSettings) -> np.ndarray:
    """Return the class probabilities of the true model, float64 [n, 2]: non-promoter, promoter.

    Choosing the larger one is the Bayes rule: no classifier is right more often on average.

    Raises:
        DataError: as `log_likelihood_ratio`.
    """
    prior = math.log(settings.promoter_fraction) - math.log1p(-settings.promoter_fraction)
    log_odds = log_likelihood_ratio(sequences, settings) + prior
    # Both from the log-odds, not one from the other: 1 − p loses the digits of a small probability.
    return np.exp(np.stack([-np.logaddexp(0, log_odds), -np.logaddexp(0, -log_odds)], axis=1))


def _log_base_probabilities(gc: float) -> np.ndarray:
    """Log-probabilities of A, C, G, T where G and C together have probability `gc`, float64 [4], nats."""
    return np.log(np.array([1 - gc, gc, gc, 1 - gc]) / 2)


def _encode(sequences: Sequence[str], length: int) -> np.ndarray:
    """Return base codes 0 to 3 for A, C, G, T, uint8 [n, length]."""
    for row, sequence in enumerate(sequences):
        if len(sequence) != length:
            raise DataError(
                f"a sequence of {len(sequence)} bp, and the simulated model has {length} bp",
                where=f"sequence {row}, counted from 0",
                fix="score it with the settings that it was simulated with",
            )
    codes = base_codes("".join(sequences)).reshape(len(sequences), length)
    wrong = np.argwhere(codes == UNKNOWN)
    if len(wrong):
        row, column = (int(index) for index in wrong[0])
        raise DataError(
            f"the letter {sequences[row][column]!r} is not A, C, G or T",
            where=f"sequence {row}, column {column}, counted from 0",
            fix="give simulated sequences, in upper case",
        )
    return codes
