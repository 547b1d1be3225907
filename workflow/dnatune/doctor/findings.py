"""The result of a check, and its text."""

import dataclasses
import enum
from collections.abc import Iterable


class Level(enum.StrEnum):
    """The severity of a finding."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
        level: `OK`; `NOTE` if it works, but there is something to know; `PROBLEM` if something will not work.
        subject: what was checked.
        what: what was found.
        fix: what to do.
    """

    level: Level
    subject: str
    what: str
    fix: str | None = None

    def __str__(self) -> str:
        """Return one line, or two lines if there is something to do."""
        line = f"{self.level:<9}{self.subject}: {self.what}"
        return f"{line}\n{'':9}to do: {self.fix}" if self.fix else line


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which is in the plural unless the number is 1."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def span(values: Iterable[int | str]) -> str:
    """Return the range of some values as text."""
    found = sorted(set(values))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
