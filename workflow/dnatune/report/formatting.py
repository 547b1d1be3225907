"""Numbers and names as the page writes them; what does not exist is an empty text."""

import base64
import gzip
from collections.abc import Iterable, Sequence
from typing import Any

from dnatune.inference import METRIC_NAMES
from dnatune.settings.scoring import BASELINE_NAMES

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def score(value: float | None) -> str:
    """Return a score with three digits."""
    return "" if value is None else f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    return "" if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def p(value: float | None) -> str:
    """Return a p-value; a small one as a bound."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def between(low: float | None, high: float | None) -> str:
    """Return the limits of an interval."""
    return "" if low is None or high is None else f"{signed(low)} to {signed(high)}"


def two(value: float | None, sign: str = "-") -> str:
    """Return an estimate with two digits; `sign` is that of a format."""
    return "" if value is None else f"{value:{sign}.2f}".replace("-", "\N{MINUS SIGN}")


def span(low: float | None, high: float | None, sign: str = "-") -> str:
    """Return the limits of such an estimate."""
    return "" if low is None or high is None else f"{two(low, sign)} to {two(high, sign)}"


def amount(value: float, low: float | None = None, high: float | None = None) -> str:
    """Return the size of a difference, with its limits if it has any: two digits, or three if it is below 0.1."""
    digits = 2 if abs(value) >= 0.1 else 3
    shown = [f"{one:.{digits}f}".replace("-", "\N{MINUS SIGN}") for one in (value, low, high) if one is not None]
    return shown[0] if len(shown) < 3 else f"{shown[0]} ({shown[1]} to {shown[2]})"


def level(value: float) -> str:
    """Return a confidence level in per cent, with the digits that the verdicts give it."""
    return f"{100 * value:.3g} %"


def percent(value: float | None) -> str:
    """Return a share in per cent."""
    return "" if value is None else f"{100 * value:.0f} %"


def rate(value: float | None) -> str:
    """Return a rate as a whole number."""
    return "" if value is None else count(round(value))


def count(value: Any) -> str:
    """Return a number in groups of three digits; a word as it is."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") if isinstance(value, int) else str(value or "")


def epochs(value: float | str | None) -> str:
    """Return a number of passes over the training split to three digits; a word as it is."""
    return f"{value:.3g}" if isinstance(value, float) else value or ""


def duration(seconds: float | None) -> str:
    """Return seconds in the unit that suits them."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def magnitude(value: float | None) -> str:
    """Return a loss or a norm; None is one that is not finite."""
    return "not finite" if value is None else f"{value:.3g}"


def plural(number: int, noun: str) -> str:
    """Return a number and its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: Sequence[Any], noun: str) -> str:
    """Return a number, its noun and the names of them all."""
    return f"{plural(len(names), noun)} ({', '.join(map(str, names))})"


def in_word(number: int) -> str:
    """Return a small whole number as a word, a greater one in digits."""
    return _NUMBERS[number] if number < len(_NUMBERS) else count(number)


def listed(words: Iterable[str]) -> str:
    """Return words with commas and one `and`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def metric_name(metric: str) -> str:
    """Return what readers call a metric."""
    return METRIC_NAMES.get(metric, metric)


def baseline_name(name: str) -> str:
    """Return what readers call a baseline."""
    return BASELINE_NAMES.get(name, name)


def download(table: str) -> str:
    """Return the address of a table that the page itself holds."""
    return f"data:text/tab-separated-values;charset=utf-8;base64,{base64.b64encode(table.encode()).decode()}"


def compressed(table: str) -> str:
    """Return the address of a table that the page itself holds, in gzip's format."""
    return f"data:application/gzip;base64,{base64.b64encode(gzip.compress(table.encode(), mtime=0)).decode()}"


#: What templates call.
FILTERS = (score, signed, p, between, two, span, level, percent, rate, count, epochs, duration, download)
