"""Sequences of a FASTA file, whole or in windows, read piece by piece."""

from collections.abc import Iterator
from pathlib import Path

from dnatune.data.fasta import check_names, in_pieces
from dnatune.prediction.rows import MOST_BASES, Row, refuse_no_rows, scored_strand, too_many
from dnatune.prediction.windows import Windows


class Fasta:
    """A FASTA file, plain or compressed; the first word of a header is the sequence's name.

    Args:
        path: the file.
        windows: how to cut each sequence; None to score it as a whole.
        strand: forward, reverse or both.
    """

    columns = {"name": str, "start": int, "end": int, "strand": str}  # noqa: RUF012, for nothing changes it
    versions = ("",)
    chromosome = "name"

    def __init__(self, path: Path, windows: Windows | None, strand: str):
        self.path, self._windows = path, windows
        self._strand = scored_strand(strand)

    def check(self) -> int:
        """See `Source`."""
        check_names(self.path)
        count = 0
        for _, _, letters in in_pieces(self.path):
            length = sum(map(len, letters))
            count += max(1, self._windows.count(length)) if self._windows else 1
        return refuse_no_rows(count, self.path)

    def rows(self) -> Iterator[Row]:
        """See `Source`."""
        for _, name, letters in in_pieces(self.path):
            yield from self._in_windows(name, letters) if self._windows else [self._whole(name, letters)]

    def _in_windows(self, name: str, letters: Iterator[str]) -> Iterator[Row]:
        length = 0

        def measured() -> Iterator[str]:
            nonlocal length
            for piece in letters:
                length += len(piece)
                yield piece

        start = None
        for start, bases in self._windows.along(measured()):
            yield Row.of((name, start, start + len(bases), self._strand), bases)
        if start is None:
            yield Row((name, 0, length, self._strand), reason=self._windows.too_short())

    def _whole(self, name: str, letters: Iterator[str]) -> Row:
        held, length = [], 0
        for piece in letters:
            length += len(piece)
            if length <= MOST_BASES:
                held.append(piece)
        fields = (name, 0, length, self._strand)
        return Row(fields, reason=too_many(length)) if length > MOST_BASES else Row.of(fields, "".join(held))
