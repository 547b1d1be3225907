"""The columns of the output: what stands in the input, the class, probabilities, log-probabilities and reasons."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy import special

from dnatune.data.prompts import EncodedExamples
from dnatune.data.sequences import reverse_complement
from dnatune.errors import DataError, shown
from dnatune.inference.probabilities import log_ratios
from dnatune.prediction.rows import Row, Source
from dnatune.prediction.scorer import Scorer

REASON = "reason"
_TYPES = {str: pa.string(), int: pa.int64()}
#: Significant digits of a number; those of predictions.tsv.
_DIGITS = 9


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Rows and their prompts.

    Attributes:
        rows: the rows.
        reasons: why each is not scored; empty where it is.
        asked: indices of the rows that have prompts; those with too many tokens get no score.
        examples: the prompts; None if there are none.
    """

    rows: Sequence[Row]
    reasons: list[str]
    asked: list[int]
    examples: EncodedExamples | None


@dataclasses.dataclass(frozen=True)
class Columns:
    """How rows and scores become a table.

    Attributes:
        source: the input.
        labels: the task's label words.
        strand: forward, reverse or both.
        temperature: see `calibration`.
    """

    source: Source
    labels: Sequence[str]
    strand: str
    temperature: float

    @property
    def schema(self) -> pa.Schema:
        """Return names and types of the columns."""
        fields = [(name, _TYPES[kind]) for name, kind in self.source.columns.items()]
        for version in self.source.versions:
            fields.append((f"predicted{version}", pa.string()))
            fields += [(self.probability(label, version), pa.float64()) for label in self.labels]
            fields += [(f"logp{version}_{label}", pa.float64()) for label in self.labels]
        if len(self.source.versions) > 1:
            kinds = (*self.source.versions, "_change")
            fields += [(f"log_odds{kind}_{label}", pa.float64()) for kind in kinds for label in self.labels]
        return pa.schema([*fields, (REASON, pa.string())])

    @staticmethod
    def probability(label: str, version: str = "") -> str:
        """Return the name of the column with the probability of a class."""
        return f"probability{version}_{label}"

    def refuse_clash(self) -> None:
        """Check that no column of the input has the name of one of the predictions'.

        Raises:
            DataError: one has.
        """
        names = self.schema.names
        clash = sorted({name for name in self.source.columns if names.count(name) > 1})
        if clash:
            raise DataError(
                f"the column {shown(clash[0])} has the name of one that holds predictions",
                where=f"{self.source.path}, line 1, the header",
                fix="rename it",
            )

    def prepare(self, rows: Sequence[Row], scorer: Scorer) -> "Prepared":
        """Return rows with the prompts of all sequences to score, first those of one strand, then of the other."""
        reasons = [row.reason or _too_short(row, scorer.fewest_bases) for row in rows]
        asked = [number for number, reason in enumerate(reasons) if not reason]
        sequences = [sequence for number in asked for sequence in rows[number].sequences]
        if not sequences:
            return Prepared(rows, reasons, [], None)
        others = [] if self.strand == "forward" else list(map(reverse_complement, sequences))
        strands = {"forward": [sequences], "reverse": [others], "both": [sequences, others]}[self.strand]
        examples = scorer.encode([sequence for strand in strands for sequence in strand])
        longest = scorer.tokens(examples).reshape(len(strands), len(asked), -1).max(axis=(0, 2))
        for number, tokens in zip(asked, longest, strict=True):
            if tokens > scorer.most_tokens:
                reasons[number] = f"{tokens} tokens with the label, and {scorer.most_tokens} are the most"
        return Prepared(rows, reasons, asked, examples)

    def table(self, prepared: "Prepared", scores: np.ndarray | None) -> pa.Table:
        """Return the rows with what was found.

        Args:
            prepared: the rows.
            scores: log-probabilities of their prompts [prompts, classes]; None if there are none.
        """
        rows, shape = prepared.rows, (-1, len(self.source.versions), len(self.labels))
        logs = np.full((len(rows), *shape[1:]), np.nan)
        own = logs.copy()
        if scores is not None:
            by_strand = scores.reshape(2 if self.strand == "both" else 1, -1, len(self.labels))
            calibrated = special.log_softmax(by_strand / self.temperature, axis=-1)
            logs[prepared.asked], own[prepared.asked] = (
                _mean_logarithm(each).reshape(shape) for each in (by_strand, calibrated)
            )
        given = [list(values) for values in zip(*(row.fields for row in rows), strict=True)]
        columns = given + self._predictions(logs, own)
        return pa.table([*map(pa.array, columns), pa.array(prepared.reasons)], schema=self.schema)

    def _predictions(self, logs: np.ndarray, own: np.ndarray) -> list[pa.Array]:
        """Return the columns of the predictions but for the reasons.

        Args:
            logs: logarithms of the labels' probabilities as the model gives them [rows, versions, classes].
            own: the same as they are calibrated and sum to one [rows, versions, classes].
        """
        columns: list[pa.Array] = []
        missing = np.isnan(own).any(axis=(1, 2))
        for version in range(own.shape[1]):
            best = np.where(missing, 0, own[:, version].argmax(axis=1))
            columns.append(pa.array([self.labels[one] for one in best], mask=missing))
            columns += [_numbers(values, missing) for values in np.exp(own[:, version]).T]
            columns += [_numbers(values, missing) for values in logs[:, version].T]
        if own.shape[1] > 1:
            odds = log_ratios(own)
            kinds = (odds[:, 0], odds[:, 1], odds[:, 1] - odds[:, 0])
            columns += [_numbers(values, missing) for kind in kinds for values in kind.T]
        return columns


def _too_short(row: Row, fewest: int) -> str:
    shortest = min(map(len, row.sequences))
    return f"fewer bases than the {fewest} of a token" if shortest < fewest else ""


def _mean_logarithm(logs: np.ndarray) -> np.ndarray:
    """Return the logarithms of the mean over strands, the first axis, of probabilities whose logarithms these are."""
    return special.logsumexp(logs, axis=0) - np.log(len(logs))


def _numbers(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """Return a column of numbers, rounded as predictions.tsv has them; those of rows that are not scored are null."""
    whole = np.where(missing | (values == 0), 1.0, values)
    scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(whole))))
    return pa.array(np.where(values == 0, 0.0, np.round(whole * scale) / scale), mask=missing)
