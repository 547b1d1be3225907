"""The JSON schema of a model of settings: what an editor completes and checks, and what tables and messages read."""

import functools
from collections.abc import Iterator
from typing import Any

import yaml

from dnatune.settings.base import Settings

Schema = dict[str, Any]


@functools.cache
def schema_of(model: type[Settings]) -> Schema:
    """Return a model's JSON schema (draft 2020-12); each key has `unit`, `description` and `reruns`.

    All callers share it: nothing in it may be changed.
    """
    return _without_titles(model.model_json_schema())


def schema_text(model: type[Settings], title: str) -> str:
    """Return the schema as YAML, for an editor."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return "# Made from the models in workflow/dnatune/settings by `make docs`.\n" + yaml.safe_dump(
        {**head, **schema_of(model)}, sort_keys=False, allow_unicode=True, default_flow_style=None, width=10_000
    )


def alternatives(part: Schema, root: Schema) -> Iterator[Schema]:
    """Yield the schemas of which a value fits one, references followed; null is none of them."""
    reference = part.get("$ref")
    if reference:
        yield from alternatives(root["$defs"][reference.rsplit("/", 1)[1]], root)
    elif "anyOf" in part or "oneOf" in part:
        for choice in part.get("anyOf", part.get("oneOf")):
            yield from alternatives(choice, root)
    elif part.get("type") != "null":
        yield part


def values_of(part: Schema) -> Schema | None:
    """Return the schema of the values of a map whose keys are free; None if its keys are fixed."""
    others = part.get("additionalProperties")
    named = next(iter(part.get("patternProperties", {}).values()), None)
    return others if isinstance(others, dict) else named


def below(schema: Schema, key: str | int) -> list[Schema]:
    """Return the schema of a key or an index, if there is one."""
    if isinstance(key, int):
        return [schema["items"]] if "items" in schema else []
    others = values_of(schema)
    if key in schema.get("properties", {}):
        return [schema["properties"][key]]
    return [others] if others and key != "[key]" else []


def _without_titles(part: Any) -> Any:
    """Drop the titles, which repeat the keys, defaults of null, which say that there is none, and ends of lines."""
    if isinstance(part, list):
        return [_without_titles(item) for item in part]
    if isinstance(part, str):
        return " ".join(part.split())
    if not isinstance(part, dict):
        return part
    return {
        key: {name: _without_titles(item) for name, item in value.items()}
        if key in ("properties", "$defs")
        else _without_titles(value)
        for key, value in part.items()
        if key != "title" and not (key == "default" and value is None)
    }
