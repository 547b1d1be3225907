"""Windows of one width along a sequence: one at every stride from its start, as far as whole ones fit."""

import dataclasses
from collections.abc import Iterable, Iterator


@dataclasses.dataclass(frozen=True)
class Windows:
    """How windows lie along a sequence.

    Attributes:
        width: bases of a window.
        stride: bases from the start of one window to that of the next.
    """

    width: int
    stride: int

    def count(self, length: int) -> int:
        """Return how many windows fit into so many bases."""
        return 0 if length < self.width else (length - self.width) // self.stride + 1

    def starts(self, length: int) -> range:
        """Return where the windows start, from 0."""
        return range(0, self.count(length) * self.stride, self.stride)

    def along(self, pieces: Iterable[str]) -> Iterator[tuple[int, str]]:
        """Yield start and bases of each window along a sequence that comes in pieces, of which few are held at once."""
        held, first, start = "", 0, 0
        for piece in pieces:
            held += piece
            while start + self.width <= first + len(held):
                yield start, held[start - first : start - first + self.width]
                start += self.stride
            passed = min(start - first, len(held))
            held, first = held[passed:], first + passed

    def too_short(self) -> str:
        """Return the reason for not scoring a sequence into which no window fits."""
        return f"shorter than a window of {self.width} bases"
