"""Score an input chunk by chunk; while one is scored, the next gets its prompts and the last is written."""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np

from dnatune.launch.process_group import Rank
from dnatune.prediction.columns import Columns, Prepared
from dnatune.prediction.parts import Parts
from dnatune.prediction.rows import chunks
from dnatune.prediction.scorer import Scorer
from dnatune.threads import in_background


def score(columns: Columns, scorer: Scorer, parts: Parts, rank: Rank, advance: Callable[[int], None]) -> None:
    """Write the parts of this rank that are not there yet; the ranks take chunks by turns.

    Args:
        columns: what to write, and the input.
        scorer: the model.
        parts: where to write.
        rank: this process.
        advance: called with the number of this rank's rows that are done, those of an earlier start included.
    """
    missing = _missing_chunks(columns, scorer, parts, rank, advance)
    upcoming, written = in_background(lambda: next(missing, None)), None
    while chunk := upcoming.result():
        upcoming = in_background(lambda: next(missing, None))
        number, prepared = chunk
        scores = scorer.log_probabilities(prepared.examples) if prepared.examples else None
        if written:
            written.result()
        written = in_background(functools.partial(_write, parts, number, columns, prepared, scores))
        advance(len(prepared.rows))
    if written:
        written.result()


def _write(parts: Parts, number: int, columns: Columns, prepared: Prepared, scores: np.ndarray | None) -> None:
    parts.write(number, columns.table(prepared, scores))


def _missing_chunks(
    columns: Columns, scorer: Scorer, parts: Parts, rank: Rank, advance: Callable[[int], None]
) -> Iterator[tuple[int, Prepared]]:
    """Yield the number of each chunk of a rank without a part, and its rows with their prompts."""
    own = itertools.islice(enumerate(chunks(columns.source.rows())), rank.index, None, rank.world)
    for number, rows in own:
        if parts.has(number):
            advance(len(rows))
        else:
            yield number, columns.prepare(rows, scorer)
