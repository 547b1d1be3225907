"""Every key of a model of settings as a row of a table."""

from collections.abc import Iterator
from typing import Any

from dnatune.settings.base import Settings
from dnatune.settings.json_schema import Schema, alternatives, schema_of, values_of

Row = tuple[str, str, str, str, str, str]


def rows(model: type[Settings]) -> Iterator[Row]:
    """Yield (key, type, unit, default, whether a change of it reruns something, meaning) of every key."""
    schema = schema_of(model)
    yield from _rows(schema, schema, "")


def markdown_cells(row: Row) -> list[str]:
    """Return the cells of the row in config/README.md."""
    key, *cells = (cell.replace("|", "\\|") for cell in row)
    return [f"`{key}`", *cells]


def _rows(schema: Schema, root: Schema, path: str) -> Iterator[Row]:
    for key, part in schema.get("properties", {}).items():
        choices = list(alternatives(part, root))
        default = _plain(part["default"]) if "default" in part else "none"
        # Pydantic leaves out a field's description that repeats its model's.
        meaning = part.get("description") or choices[0]["description"]
        reruns = "yes" if part["reruns"] else "no"
        yield f"{path}{key}", " or ".join(map(_kind, choices)), part["unit"], default, reruns, meaning
        for choice in choices:
            yield from _rows(choice, root, f"{path}{key}.")
            for inner in alternatives(values_of(choice) or {}, root):
                yield from _rows(inner, root, f"{path}{key}.<name>.")
            for inner in alternatives(choice.get("items", {}), root):
                yield from _rows(inner, root, f"{path}{key}[].")


def _kind(schema: Schema) -> str:
    if "const" in schema:
        return str(schema["const"])
    return f"one of {', '.join(map(str, schema['enum']))}" if "enum" in schema else schema["type"]


def _plain(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, dict):
        return ", ".join(f"{key}: {value}" for key, value in default.items()) or "empty"
    if isinstance(default, list):
        return ", ".join(map(str, default)) or "empty"
    return str(default)
