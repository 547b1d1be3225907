"""What a map of settings may hold before any model sees it: plain values of a size that can be meant."""

import itertools
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from dnatune.errors import ConfigurationError, shown

#: Levels of maps and lists, values in all, letters of a text and of a key, and the largest whole number.
_MOST_LEVELS, _MOST_VALUES, _LONGEST_TEXT, _LONGEST_KEY, _LARGEST = 20, 50_000, 10_000, 200, 10**15
#: How access tokens of Hugging Face, GitHub and others look.
_ELSEWHERE = "the environment variable HF_TOKEN: the configuration goes into logs, results and the report"
_TOKEN = re.compile(r"(?:hf_|gh[pousr]_|sk-)[A-Za-z0-9_-]{30,}")


def unprintable(text: str, allowed: str = "") -> str | None:
    """Return the first character of a text that is no printed one: of control, of half a pair, or a line separator.

    Args:
        text: any.
        allowed: such characters that may stand there.
    """
    categories = ("Cc", "Cs", "Zl", "Zp")
    return next((one for one in text if unicodedata.category(one) in categories and one not in allowed), None)


def without_nulls(value: Any, noun: str, path: str) -> Any:
    """Return a copy without null entries.

    Args:
        value: a map, as YAML or JSON gives it.
        noun: what the keys are of, for a message.
        path: dotted path of the map, for a message.

    Raises:
        ConfigurationError: a key is no text; or a value is no map, list, text, finite number or truth value, or is too
            large to be meant. The message names the key.
    """
    return _copy(value, noun, path, _MOST_LEVELS, itertools.count(1))


def _copy(value: Any, noun: str, path: str, levels: int, counted: Iterator[int]) -> Any:
    problem = _problem(value)
    if levels == 0:
        problem = f"maps and lists are nested more than {_MOST_LEVELS} levels deep", "take levels out"
    elif next(counted) > _MOST_VALUES:
        problem = f"there are more than {_MOST_VALUES} values", "give fewer; an alias of YAML counts each time"
    if problem:
        raise ConfigurationError(problem[0], where=f"{noun} key '{path}'", fix=problem[1])
    if isinstance(value, Mapping):
        for key in value:
            if wrong := _wrong_key(key):
                raise ConfigurationError(wrong[0], where=f"{noun} key '{path}'" if path else noun, fix=wrong[1])
        below = f"{path}." if path else ""
        return {
            key: _copy(item, noun, f"{below}{key}", levels - 1, counted)
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list | tuple):
        return [_copy(item, noun, f"{path}.{index}", levels - 1, counted) for index, item in enumerate(value)]
    return value


def _wrong_key(key: Any) -> tuple[str, str] | None:
    """Return what is wrong with a key and what to do; None if nothing is."""
    if not isinstance(key, str):
        said = "null" if key is None else shown(key)
        return f"the key {said} is no text", "put it in quotes: YAML reads on, off, yes, no, null and numbers otherwise"
    if len(key) > _LONGEST_KEY:
        return f"a key has {len(key)} letters: {key[:20]}…", f"give it at most {_LONGEST_KEY}"
    if _TOKEN.search(key):
        return "a key looks like an access token", f"set {_ELSEWHERE}"
    if letter := unprintable(key):
        return f"the key {key!r} holds the character {letter!r}", "leave it out"
    return None


def _problem(value: Any) -> tuple[str, str] | None:
    """Return what is wrong with a value and what to do; None if nothing is."""
    match value:
        case None | bool() | Mapping() | list() | tuple():
            return None
        case int() if abs(value) > _LARGEST:
            return f"a number of about {int(value.bit_length() * math.log10(2)) + 1} digits", "give a smaller one"
        case float() if not math.isfinite(value):
            return f"{value!r} is not allowed: it must be a finite number", "give a number"
        case str() if len(value) > _LONGEST_TEXT:
            return f"a text of {len(value)} letters", f"give it at most {_LONGEST_TEXT}"
        case str() if letter := unprintable(value, allowed="\n\t"):
            return f"a text holds the character {letter!r}", "leave it out"
        case str() if _TOKEN.search(value):
            return "a text looks like an access token", f"set {_ELSEWHERE}"
        case int() | float() | str():
            return None
    return f"a {type(value).__name__} is no value here", "give a map, a list, a text or a number; put a date in quotes"
