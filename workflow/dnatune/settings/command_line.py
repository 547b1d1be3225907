"""Scalars of Snakemake's command line."""

from collections.abc import Mapping
from typing import Any

import yaml

from dnatune.settings.plain_values import without_nulls

#: Letters of the longest number, truth value or null.
_LONGEST_SCALAR = 40


def read_scalars(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with numbers, truth values and nulls of the command line read as such.

    Snakemake leaves them as text inside the maps and lists of `--config`. Text from files stays text.

    Args:
        config: the whole configuration.
        given: the part that was given on the command line.

    Raises:
        ConfigurationError: that part holds what no configuration can hold.
    """
    return _read_scalars(config, without_nulls(given, "config", ""))


def _read_scalars(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    typed = dict(config)
    for key, value in given.items():
        below = config.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            typed[key] = _read_scalars(below, value)
        else:
            typed[key] = _read_scalar(value)
    return typed


def _read_scalar(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _read_scalar(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read_scalar(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        # YAML 1.1 takes 1e-4 for text.
        return float(value) if "e" in value.lower() else _scalar_of(value)
    except ValueError:
        return _scalar_of(value)


def _scalar_of(text: str) -> Any:
    if not text.strip() or len(text) > _LONGEST_SCALAR:
        return text
    try:
        read = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: the 45th day of a month
        return text
    return read if read is None or isinstance(read, bool | int | float) else text
