"""Scalars of Snakemake's command line."""

from collections.abc import Mapping
from typing import Any

import yaml

from dnatune.settings.experiment_file import Experiment
from dnatune.settings.json_schema import Schema, alternatives, below, schema_of
from dnatune.settings.plain_values import without_nulls

#: Letters of the longest number, truth value or null.
_LONGEST_SCALAR = 40


def read_scalars(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with numbers, truth values and nulls of the command line read as such.

    Snakemake leaves them as text inside the maps and lists of `--config`. Text from files stays text, and so does what
    stands where a text is due: a label `no`, a task `0`.

    Args:
        config: the whole configuration.
        given: the part that was given on the command line.

    Raises:
        ConfigurationError: that part holds what no configuration can hold.
    """
    return _read_scalars(config, without_nulls(given, "config", ""), [schema_of(Experiment)])


def _read_scalars(config: Mapping[str, Any], given: Mapping[str, Any], parts: list[Schema]) -> dict[str, Any]:
    typed = dict(config)
    for key, value in given.items():
        below, inner = config.get(key), _inner(parts, key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            typed[key] = _read_scalars(below, value, inner)
        else:
            typed[key] = _read_value(value, inner)
    return typed


def _read_value(value: Any, parts: list[Schema]) -> Any:
    if isinstance(value, Mapping):
        return {key: _read_value(item, _inner(parts, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_read_value(item, _inner(parts, 0)) for item in value]
    return _read_scalar(value, parts) if isinstance(value, str) else value


def _inner(parts: list[Schema], key: str | int) -> list[Schema]:
    """Return the schemas of a key or an item below values of some schemas; none if they are free."""
    root = schema_of(Experiment)
    return [inner for part in parts for choice in alternatives(part, root) for inner in below(choice, key)]


def _read_scalar(text: str, parts: list[Schema]) -> Any:
    choices = [choice for part in parts for choice in alternatives(part, schema_of(Experiment))]
    kinds = {choice.get("type") for choice in choices} - {"object", "array"}
    if kinds == {"string"}:
        nullable = any({"type": "null"} in part.get("anyOf", ()) for part in parts)
        return None if nullable and text == "null" else text
    try:
        # YAML 1.1 takes 1e-4 for text.
        return float(text) if "e" in text.lower() else _scalar_of(text)
    except ValueError:
        return _scalar_of(text)


def _scalar_of(text: str) -> Any:
    if not text.strip() or len(text) > _LONGEST_SCALAR:
        return text
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: the 45th day of a month
        return text
    return read if read is None or isinstance(read, bool | int | float) else text
