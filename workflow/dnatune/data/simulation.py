"""Simulated core promoters from a generative model whose Bayes-optimal classifier is known exactly.

A non-promoter is a row of independent bases. A promoter is the same with its own GC content, and each of
TATA box, initiator (Inr) and downstream promoter element (DPE) is written over it independently with a set
probability, at a set distance from the transcription start site give or take a few bases, drawn column by
column from a published count matrix. `docs/simulated-data.md` has sources, likelihood and measured ceilings.
"""

import dataclasses
import difflib
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.data.sequences import UNKNOWN, base_codes, sequence_of
from dnatune.errors import ConfigurationError, DataError


@dataclasses.dataclass(frozen=True)
class Motif:
    """A promoter element.

    Attributes:
        name: as in the settings: `tata`, `inr` or `dpe`.
        counts: sites with A, C, G, T (inner) in each column (outer).
        offset: 0-based column of the element's first base minus that of base +1 (there is no position 0, so
            offset −1 is position −1 and offset 0 is position +1).
        source: where the counts were published and where they were read.
    """

    name: str
    counts: tuple[tuple[int, int, int, int], ...]
    offset: int
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
        "tata",
        # JASPAR's POL012.1 is the same matrix with a slip (10 for 20 in column 7), which MA0108.2 puts right.
        _columns(
            " 61  16 352   3 354 268 360 222 155  56  83  82  82  68  77",
            "145  46   0  10   0   0   3   2  44 135 147 127 118 107 101",
            "152  18   2   2   5   0  20  44 157 150 128 128 128 139 140",
            " 31 309  35 374  30 121   6 121  33  48  31  52  61  75  71",
        ),
        -31,
        "Bucher 1990, J Mol Biol 212:563; JASPAR MA0108.2, 389 sites",
    ),
    Motif(
        "inr",
        _columns(
            " 49   0 288  26  77  67  45  50",
            " 48 303   0  81  95 118  85  96",
            " 69   0   0 116   0  46  73  56",
            "137   0  15  80 131  72 100 101",
        ),
        -2,
        "Bucher 1990, J Mol Biol 212:563 (cap signal); JASPAR POL002.1, 303 sites",
    ),
    Motif(
        "dpe",
        _columns(
            "24 36 41  2 43  7 16 15 19",
            "18 21  3 30  2 30 31 21 22",
            "30  6 28 47  1  4 35 11 17",
            "10 19 10  3 36 41  0 35 24",
        ),
        25,
        "Kutach & Kadonaga 2000, Mol Cell Biol 20:4754; JASPAR POL005.1, 82 sites",
    ),
)


@dataclasses.dataclass(frozen=True)
class SimulationSettings:
    """Settings of the simulator, the keys of `data.simulated`. Making one checks it.

    The default frequencies of the elements are far above those of a genome, on purpose: see
    `docs/simulated-data.md`.

    Attributes:
        train_size: examples in the train split, count.
        dev_size: examples in the dev split, count.
        test_size: examples in the test split, count.
        seed: seed of the random generator, integer from 0; splits and seeds are independent streams.
        length: length of every sequence, bp.
        tss_column: where base +1, the transcription start site, stands; 0-based column, bp.
        promoter_fraction: probability that an example is a promoter (class 1), above 0 and below 1.
        promoter_gc: probability of G or C at a promoter's base outside its elements, above 0 and below 1.
        background_gc: probability of G or C at a non-promoter's base, above 0 and below 1.
        tata_probability: probability that a promoter has a TATA box, 0 to 1.
        inr_probability: probability that a promoter has an initiator, 0 to 1.
        dpe_probability: probability that a promoter has a downstream promoter element, 0 to 1.
        tata_jitter: largest shift of the TATA box either way, each shift equally likely, bp.
        inr_jitter: largest shift of the initiator either way, each shift equally likely, bp.
        dpe_jitter: largest shift of the downstream element either way, each shift equally likely, bp.

    Raises:
        ConfigurationError: a value of the wrong type or out of range, or elements that do not fit: one
            reaches beyond the sequence, or two could overlap.
    """

    train_size: int = 20000
    dev_size: int = 2000
    test_size: int = 4000
    seed: int = 0
    length: int = 70
    tss_column: int = 33
    promoter_fraction: float = 0.5
    promoter_gc: float = 0.55
    background_gc: float = 0.48
    tata_probability: float = 0.75
    inr_probability: float = 0.5
    dpe_probability: float = 0.3
    tata_jitter: int = 2
    inr_jitter: int = 1
    dpe_jitter: int = 1

    def __post_init__(self) -> None:
        """Check every value and that the elements fit."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is int:
                _check_integer(field.name, value, least=1 if field.name.endswith("_size") else 0)
            else:
                _check_probability(field.name, value, closed=field.name.endswith("_probability"))
        self._check_windows()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "SimulationSettings":
        """Return the settings of a map with some or all of the keys; the others keep their defaults.

        Raises:
            ConfigurationError: an unknown key, with the nearest known one, or a value that is refused.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                fix = f"did you mean '{near[0]}'?" if near else f"remove it; the keys are {', '.join(known)}"
                raise _refusal(str(key), f"unknown key '{key}'", fix)
        return cls(**values)

    def placements(self, motif: Motif) -> range:
        """Return the 0-based columns that the element's first base may stand in."""
        first, jitter = self.tss_column + motif.offset, self.jitter(motif)
        return range(first - jitter, first + jitter + 1)

    def probability(self, motif: Motif) -> float:
        """Return the probability that a promoter has the element."""
        return getattr(self, f"{motif.name}_probability")

    def jitter(self, motif: Motif) -> int:
        """Return the element's largest shift either way, bp."""
        return getattr(self, f"{motif.name}_jitter")

    def _check_windows(self) -> None:
        """Refuse elements that leave the sequence or can overlap: the likelihood would not factorise."""
        previous_end, previous = 0, None
        for motif in MOTIFS:
            starts = self.placements(motif)
            if starts[0] < previous_end:
                if previous is None:
                    raise _refusal(
                        "tss_column",
                        f"with tss_column {self.tss_column} and {motif.name}_jitter {self.jitter(motif)} "
                        f"the {motif.name} element could begin at column {starts[0]}, before the sequence",
                        f"set tss_column to {self.tss_column - starts[0]} or more, or lower the jitter",
                    )
                wider = max((motif, previous), key=self.jitter)
                raise _refusal(
                    f"{wider.name}_jitter",
                    f"the {previous.name} and {motif.name} elements could overlap "
                    f"(jitter {self.jitter(previous)} and {self.jitter(motif)} bp)",
                    f"lower {previous.name}_jitter and {motif.name}_jitter by {previous_end - starts[0]} bp in sum",
                )
            previous_end, previous = starts[-1] + len(motif.counts), motif
        if previous_end > self.length:
            raise _refusal(
                "length",
                f"{self.length} bp are too short: with tss_column {self.tss_column} and "
                f"{previous.name}_jitter {self.jitter(previous)} the elements need {previous_end} bp",
                f"set length to {previous_end} or more, or lower tss_column or {previous.name}_jitter",
            )


def _refusal(key: str, what: str, fix: str) -> ConfigurationError:
    return ConfigurationError(what, where=f"config key 'data.simulated.{key}'", fix=fix)


def _check_integer(key: str, value: Any, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _refusal(key, f"{value!r} is not a whole number from {least} up", f"give {least} or more")


def _check_probability(key: str, value: Any, *, closed: bool) -> None:
    bounds = "from 0 to 1" if closed else "above 0 and below 1"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Written so that NaN, which compares false with everything, is refused.
    if not (number and (0 <= value <= 1 if closed else 0 < value < 1)):
        raise _refusal(key, f"{value!r} is not a probability {bounds}", f"give a number {bounds}")


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
