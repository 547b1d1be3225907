"""Maps against the schemas: the first thing that is wrong, told; defaults filled in; every key as a row of a table."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from dnatune.errors import ConfigurationError

_HERE = Path(__file__).resolve()
#: In a checkout the schemas lie in workflow/schemas; an installed copy carries them as a sub-package.
SCHEMAS = next(p for p in (_HERE.parents[2] / "schemas", _HERE.parents[1] / "schemas") if p.is_dir())


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    """Check a pattern as JSON Schema means it: its `$` is the end alone, Python's stands before a last newline too."""
    if isinstance(value, str) and re.search(re.sub(r"\$$", r"\\Z", pattern), value) is None:
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})


def load_schema(name: str) -> dict[str, Any]:
    """Return the schema `config` or `site` as a map."""
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text("utf-8"))


def check(value: Mapping[str, Any], schema: dict[str, Any], noun: str = "config") -> dict[str, Any]:
    """Return `value` without its null entries and with the schema's defaults filled in.

    Raises:
        ConfigurationError: the first key that the schema does not allow, with the nearest that it does.
    """
    pruned = _without_nulls(value)
    errors = _Validator(schema).iter_errors(pruned)
    first = min(errors, key=lambda error: (len(error.absolute_path), str(error.absolute_path)), default=None)
    if first is not None:
        raise _explain(first, noun)
    return _fill(pruned, schema, schema)


def check_part(value: dict[str, Any], properties: dict[str, Any], where: str, schema: dict[str, Any]) -> None:
    """Check a map against some properties of a schema; messages begin at `where`."""
    part = {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": schema["$defs"],
    }
    first = next(_Validator(part).iter_errors(value), None)
    if first is not None:
        raise _explain(first, "config", where)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _fill(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """Return a copy with the defaults of `schema` where keys are absent."""
    schema = _dereference(schema, root)
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    properties = schema.get("properties", {})
    for key, part in properties.items():
        if key not in filled and "default" in part:
            filled[key] = part["default"]
        if key in filled:
            filled[key] = _fill(filled[key], part, root)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        for key in filled.keys() - properties.keys():
            filled[key] = _fill(filled[key], others, root)
    return filled


def _dereference(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return root["$defs"][reference.rsplit("/", 1)[1]] if reference else schema


def _explain(error: jsonschema.ValidationError, noun: str, prefix: str = "") -> ConfigurationError:
    """Turn the first complaint of jsonschema into one of ours."""
    path = ".".join(filter(None, [prefix, *map(str, error.absolute_path)]))
    if error.validator == "oneOf" and isinstance(error.instance, dict):
        best = max(error.context, key=lambda item: (item.validator != "type", len(item.absolute_schema_path)))
        return _explain(best, noun, prefix)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        key = next(key for key in error.instance if key not in known)
        near = difflib.get_close_matches(str(key), known, n=1)
        where = f"{path}.{key}" if path else str(key)
        return ConfigurationError(
            f"unknown key '{key}'",
            where=f"{noun} key '{where}'",
            fix=(f"did you mean '{near[0]}'? " if near else "") + f"Keys here are: {', '.join(known)}",
        )
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        where = f"{path}.{missing}" if path else missing
        return ConfigurationError(f"'{missing}' is missing", where=f"{noun} key '{where}'", fix="add it")
    if error.validator == "maxProperties" or error.validator == "minProperties":
        given = ", ".join(error.instance) or "nothing"
        allowed = ", ".join(error.schema.get("properties", {}))
        what = f"{given} given; " + (f"exactly one of {allowed} is needed" if allowed else "at least one is needed")
        return ConfigurationError(what, where=f"{noun} key '{path}'", fix="keep one; null drops a key of the file")
    return ConfigurationError(
        f"{error.instance!r} is not allowed: {_expectation(error)}",
        where=f"{noun} key '{path}'",
        fix=_meaning(error.schema),
    )


def _expectation(error: jsonschema.ValidationError) -> str:
    value = error.validator_value
    match error.validator:
        case "type":
            return f"it must be of type {' or '.join(value) if isinstance(value, list) else value}"
        case "enum":
            return f"it must be one of {', '.join(map(str, value))}"
        case "minimum":
            return f"it must be at least {value}"
        case "exclusiveMinimum":
            return f"it must be more than {value}"
        case "maximum":
            return f"it must be at most {value}"
        case "exclusiveMaximum":
            return f"it must be less than {value}"
        case "pattern":
            return f"it must match {value}"
        case "minItems" | "minLength":
            return "it is empty or too short"
        case "uniqueItems":
            return "an item stands there twice"
        case _:
            return error.message


def _meaning(schema: Mapping[str, Any]) -> str:
    unit, description = schema.get("unit"), schema.get("description")
    if not description:
        return "see config/README.md"
    return f"{description} (unit: {unit})" if unit else description


def schema_rows(schema: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (key, type, unit, default, meaning) of every key, for the table in config/README.md."""
    yield from _rows(schema, schema, "")


def _rows(schema: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[tuple[str, str, str, str, str]]:
    for key, part in _dereference(schema, root).get("properties", {}).items():
        full = f"{path}{key}"
        inner = _dereference(part, root)
        kind = _kind(inner)
        default = part.get("default", inner.get("default", "none"))
        yield full, kind, part.get("unit", inner.get("unit", "")), _plain(default), part.get("description", "")
        yield from _rows(inner, root, f"{full}.")
        if isinstance(inner.get("additionalProperties"), dict):
            for choice in inner["additionalProperties"].get("oneOf", [inner["additionalProperties"]]):
                yield from _rows(choice, root, f"{full}.<name>.")
        for choice in inner.get("items", {}).get("oneOf", []):
            yield from _rows(choice, root, f"{full}[].")


def _kind(schema: dict[str, Any]) -> str:
    choices = schema.get("oneOf", [])
    if choices:
        return " or ".join(str(choice.get("const", choice.get("type"))) for choice in choices)
    kind = schema.get("type", "one of " + ", ".join(map(str, schema.get("enum", []))))
    return " or ".join(kind) if isinstance(kind, list) else kind


def _plain(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, dict):
        return ", ".join(f"{key}: {value}" for key, value in default.items()) or "empty"
    return ", ".join(map(str, default)) if isinstance(default, list) else str(default)


def markdown_row(row: tuple[str, str, str, str, str]) -> str:
    """Return a line of the table in config/README.md."""
    key, kind, unit, default, meaning = (cell.replace("|", "\\|") for cell in row)
    return f"| `{key}` | {kind} | {unit} | {default} | {meaning} |"
