"""Files of settings: YAML or JSON in which no key stands twice and no number is read as another."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dnatune.errors import ConfigurationError


def read(path: Path) -> Any:
    """Return what a file of settings holds. JSON is tried first, as Snakemake does: YAML takes its 1e-08 for text.

    Raises:
        ConfigurationError: the file cannot be read, is neither JSON nor YAML, or has a key twice, of which both readers
            would silently take the second.
    """
    try:
        text = path.read_text("utf-8")
        try:
            return json.loads(text, object_pairs_hook=_without_repeats)
        except ValueError:
            return yaml.load(text, Loader=_Loader)  # noqa: S506, for it is a SafeLoader
    except RecursionError:
        what = "maps and lists are nested too deep"
    except _Unclear as error:
        what = str(error)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    except (ValueError, yaml.YAMLError) as error:
        what = f"not valid YAML: {error}"
    raise ConfigurationError(what, where=str(path), fix="correct the file; it is YAML, or JSON, with each key once")


class _Unclear(Exception):  # noqa: N818, for it becomes the reason of an error
    """A key that stands twice in a map, or a number that is read as another."""


def _without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Unclear(f"the key '{key[:80]}' stands twice in a map")
        found[key] = value
    return found


class _Loader(yaml.SafeLoader):
    """A loader that refuses a key that stands twice; keys that an alias brings (`<<`) may be given anew."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a map."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _Unclear(f"line {key.start_mark.line + 1}: the key '{key.value[:80]}' stands twice in a map")
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return a whole number; 010 and 1:30, which YAML 1.1 reads as 8 and 90, are refused."""
        read = super().construct_yaml_int(node)
        if ":" in node.value or re.match("[-+]?0[0-9_]", node.value):
            place = f"line {node.start_mark.line + 1}"
            raise _Unclear(
                f"{place}: YAML reads {node.value} as {read}; put it in quotes, or write the number that you mean"
            )
        return read


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
