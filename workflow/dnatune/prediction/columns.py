"""The columns of the output: what stands in the input, the class, probabilities, log-probabilities and reasons."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy import special

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

    def table(self, rows: Sequence[Row], scorer: Scorer) -> pa.Table:
        """Score rows and return them with what was found."""
        versions = len(self.source.versions)
        reasons = [row.reason or self._too_short(row, scorer.fewest_bases) for row in rows]
        scored = [number for number, reason in enumerate(reasons) if not reason]
        sequences = [sequence for number in scored for sequence in rows[number].sequences]
        logs = np.full((len(rows), versions, len(self.labels)), np.nan)
        own = logs.copy()
        if sequences:
            found, tokens = self._score(sequences, scorer)
            calibrated = special.log_softmax(found / self.temperature, axis=-1)
            shape = (-1, versions, len(self.labels))
            logs[scored], own[scored] = (_mean_logarithm(each).reshape(shape) for each in (found, calibrated))
            for number, most in zip(scored, tokens.reshape(-1, versions).max(axis=1), strict=True):
                if most > scorer.most_tokens:
                    reasons[number] = f"{most} tokens with the label, and {scorer.most_tokens} are the most"
        given = [list(values) for values in zip(*(row.fields for row in rows), strict=True)]
        columns = given + self._predictions(logs, own)
        return pa.table([*map(pa.array, columns), pa.array(reasons)], schema=self.schema)

    @staticmethod
    def _too_short(row: Row, fewest: int) -> str:
        shortest = min(map(len, row.sequences))
        return f"fewer bases than the {fewest} of a token" if shortest < fewest else ""

    def _score(self, sequences: Sequence[str], scorer: Scorer) -> tuple[np.ndarray, np.ndarray]:
        """Return log-probabilities [strands, sequences, classes], and the tokens of the longer strand [sequences]."""
        others = [] if self.strand == "forward" else list(map(reverse_complement, sequences))
        strands = {"forward": [sequences], "reverse": [others], "both": [sequences, others]}[self.strand]
        examples = scorer.encode([sequence for strand in strands for sequence in strand])
        found = scorer.log_probabilities(examples).reshape(len(strands), len(sequences), -1)
        return found, scorer.tokens(examples).reshape(len(strands), -1).max(axis=0)

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


def _mean_logarithm(logs: np.ndarray) -> np.ndarray:
    """Return the logarithms of the mean over strands, the first axis, of probabilities whose logarithms these are."""
    return special.logsumexp(logs, axis=0) - np.log(len(logs))


def _numbers(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """Return a column of numbers, rounded as predictions.tsv has them; those of rows that are not scored are null."""
    whole = np.where(missing | (values == 0), 1.0, values)
    scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(whole))))
    return pa.array(np.where(values == 0, 0.0, np.round(whole * scale) / scale), mask=missing)
