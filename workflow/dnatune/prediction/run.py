"""Score an input chunk by chunk; while one is scored, the next is read and the last is written."""

import itertools
from collections.abc import Callable, Iterator

from dnatune.launch.process_group import Rank
from dnatune.prediction.columns import Columns
from dnatune.prediction.parts import Parts
from dnatune.prediction.rows import Row, chunks
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
    own = _own_chunks(columns.source.rows(), rank)
    upcoming, written = in_background(lambda: next(own, None)), None
    while chunk := upcoming.result():
        upcoming = in_background(lambda: next(own, None))
        number, rows = chunk
        if not parts.has(number):
            table = columns.table(rows, scorer)
            if written:
                written.result()
            written = in_background(lambda number=number, table=table: parts.write(number, table))
        advance(len(rows))
    if written:
        written.result()


def _own_chunks(rows: Iterator[Row], rank: Rank) -> Iterator[tuple[int, list[Row]]]:
    return itertools.islice(enumerate(chunks(rows)), rank.index, None, rank.world)
