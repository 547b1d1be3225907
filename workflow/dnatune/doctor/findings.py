"""What a check comes to, and how it is said."""

import dataclasses
import enum
from collections.abc import Iterable


class Level(enum.StrEnum):
    """How grave a finding is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"


@dataclasses.dataclass(frozen=True)
class Finding:
    """The outcome of a check.

    Attributes:
        level: `OK`; `NOTE`, it works and there is something to know; `PROBLEM`, something will not work.
        subject: what was checked.
        what: what was found.
        fix: what to do.
    """

    level: Level
    subject: str
    what: str
    fix: str | None = None

    def __str__(self) -> str:
        """Return a line, and a second one where there is something to do."""
        line = f"{self.level:<9}{self.subject}: {self.what}"
        return f"{line}\n{'':9}to do: {self.fix}" if self.fix else line


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def span(values: Iterable[int | str]) -> str:
    """Return the least and the greatest of some values as text."""
    found = sorted(set(values))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
