"""Nested maps and lists of tensors, numbers and texts as files that no reader can run: safetensors and JSON."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnatune.errors import DataError, RunError
from dnatune.files import read_json

#: The words of the JSON file for what JSON has not. A plain number, text, truth value, null or list stands for itself.
_MAP, _TUPLE, _FLOAT, _TENSOR = "map", "tuple", "float", "tensor"


def write_tree(folder: Path, name: str, tree: Any) -> None:
    """Write `<name>.safetensors` with the tensors of a tree and `<name>.json` with everything else.

    Keys of maps are texts or whole numbers. A tensor is written as it is at this moment.

    Raises:
        RunError: the tree holds something else; the message says where.
    """
    tensors: dict[str, Tensor] = {}
    structure = _taken_apart(tree, name, tensors)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(structure, allow_nan=False), "utf-8")


def read_tree(folder: Path, name: str) -> Any:
    """Return what `write_tree` wrote, with tensors on the CPU that no file lies behind.

    Raises:
        DataError: a file is missing or is not what was written.
    """
    path = folder / f"{name}.safetensors"
    try:
        # Unlike mapped memory, what is read stays if the file is deleted.
        tensors = load_file(path, backend="pread")
        return _put_together(read_json(folder / f"{name}.json"), tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"not the state that was saved: {error}", where=str(path), fix="delete the checkpoint's folder"
        ) from None


def _taken_apart(part: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    match part:
        case None | bool() | int() | str():
            # An enumeration of numbers or texts is written as such.
            return part
        case float():
            return part if math.isfinite(part) else {_FLOAT: str(part)}
        case Tensor():
            name = f"{len(tensors)}"
            tensors[name] = part.detach().to("cpu", copy=True).contiguous()
            return {_TENSOR: name}
        case Mapping() if all(isinstance(key, str | int) for key in part):
            return {_MAP: [[key, _taken_apart(item, f"{place}.{key}", tensors)] for key, item in part.items()]}
        case list() | tuple():
            items = [_taken_apart(item, f"{place}.{index}", tensors) for index, item in enumerate(part)]
            return {_TUPLE: items} if isinstance(part, tuple) else items
    raise RunError(
        f"a checkpoint cannot hold the {type(part).__name__} at {place}",
        fix="train with an optimizer whose state is tensors, numbers and texts",
    )


def _put_together(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(structure, list):
        return [_put_together(item, tensors) for item in structure]
    if not isinstance(structure, dict):
        return structure
    ((kind, content),) = structure.items()
    match kind:
        case "map":
            return {key: _put_together(item, tensors) for key, item in content}
        case "tuple":
            return tuple(_put_together(item, tensors) for item in content)
        case "float":
            return float(content)
        case "tensor":
            return tensors[content]
    raise ValueError(f"unknown word {kind!r}")
