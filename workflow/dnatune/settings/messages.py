"""What pydantic found wrong with settings, as one message of ours: the key, what it may be, the nearest right key."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from dnatune.errors import ConfigurationError, shown
from dnatune.settings.base import Settings
from dnatune.settings.json_schema import Schema, alternatives, below, schema_of

_TYPES = {
    "int_type": "integer",
    "float_type": "number",
    "string_type": "string",
    "bool_type": "boolean",
    "list_type": "array",
    "tuple_type": "array",
    "dict_type": "object",
    "model_type": "object",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "multiple_of": ("a multiple of", "multiple_of"),
}


def explain(error: ValidationError, model: type[Settings], noun: str, prefix: str) -> ConfigurationError:
    """Return the message of the first error, nearest to the top of the map.

    Args:
        error: of a value that is no `model`.
        model: what it should have been.
        noun: see `Settings.read`.
        prefix: see `Settings.read`.
    """
    root = schema_of(model)
    found = [(*_locate(root, one), one) for one in error.errors(include_url=False) if not _follows(one)]
    # A key too many or too few is an error of the map that it stands in.
    path, parts, first = min(
        found, key=lambda one: (len(one[0]) - (one[2]["type"] in ("missing", "extra_forbidden")), one[0])
    )

    def where(*below: str) -> str:
        return f"{noun} key '{'.'.join([*([prefix] if prefix else []), *path, *below])}'"

    match first["type"]:
        case "extra_forbidden":
            known = [
                key for part in parts for choice in alternatives(part, root) for key in choice.get("properties", {})
            ]
            near = difflib.get_close_matches(path[-1], known, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            return ConfigurationError(
                f"unknown key '{path[-1]}'", where=where(), fix=f"{hint}Keys here are: {', '.join(known)}"
            )
        case "missing":
            return ConfigurationError(f"'{path[-1]}' is missing", where=where(), fix="add it")
        case "refused":
            context = first["ctx"]
            below = [context["key"]] if context["key"] else []
            return ConfigurationError(context["what"], where=where(*below), fix=context["fix"])
        case "wrong_count":
            return _wrong_count(first["ctx"]["what"], where())
        case "too_short" if first["ctx"]["field_type"] == "Dictionary":
            return _wrong_count("nothing given; at least one is needed", where())
    # One error for each alternative of a union.
    expected = " or ".join(dict.fromkeys(_expectation(one) for place, _, one in found if place == path))
    fix = _meaning(parts)
    if first["type"] == "string_type" and isinstance(first["input"], bool | float):
        fix = f"put the word in quotes: YAML reads no, yes, on and off as truth values, and 1.0 as a number. {fix}"
    return ConfigurationError(f"{shown(first['input'])} is not allowed: {expected}", where=where(), fix=fix)


def _follows(error: Mapping[str, Any]) -> bool:
    """Tell whether pydantic calls a list too short only because it left out the wrong items, each an error itself."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _wrong_count(what: str, where: str) -> ConfigurationError:
    return ConfigurationError(what, where=where, fix="keep one; null drops a key of the file")


def _locate(root: Schema, error: Mapping[str, Any]) -> tuple[list[str], list[Schema]]:
    """Return the keys down to the place of an error, and the schemas there; of an unknown key those of its map.

    Pydantic also writes the alternative of a union, and that a key itself is wrong, into a place; both are left out.
    """
    place = list(error["loc"])
    unknown = [str(place.pop())] if error["type"] == "extra_forbidden" else []
    keys: list[str] = []
    parts = [root]
    for key in place:
        inner = [one for part in parts for choice in alternatives(part, root) for one in below(choice, key)]
        if inner:
            keys.append(str(key))
            parts = inner
    return keys + unknown, parts


def _expectation(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _TYPES:
        return f"it must be of type {_TYPES[kind]}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"it must be {words} {context[key]:g}"
    match kind:
        case "literal_error":
            choices = context["expected"].replace("'", "").replace(" or ", ", ")
            return f"it must be {'one of ' if ', ' in choices else ''}{choices}"
        case "string_pattern_mismatch":
            return f"it must match {context['pattern']}"
        case "too_long" | "string_too_long":
            return f"it must have at most {context['max_length']} {'letters' if kind == 'string_too_long' else 'items'}"
        case "too_short" | "string_too_short":
            return "it is empty or too short"
        case _:
            return error["msg"]


def _meaning(parts: Sequence[Schema]) -> str:
    described = next((part for part in parts if "description" in part and "unit" in part), None)
    if described is None:
        return "see config/README.md"
    return f"{described['description']} (unit: {described['unit']})"
