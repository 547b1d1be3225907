"""Nested maps and lists of tensors, numbers and texts as files that no reader can run: safetensors and JSON.

A state is copied to host memory at one moment and written later, while the tensors that it was copied from change.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dnatune.errors import DataError, RunError
from dnatune.files import read_json, sha256_of_file, sync
from dnatune.threads import in_threads

#: What is to be written, by the name of its file: a text, or tensors by name.
Files = dict[str, str | dict[str, Tensor]]
#: Most bytes of tensors in one file: several threads write and hash several files.
_FILE_BYTES = 2**30
#: The words of the JSON file for what JSON has not. A plain number, text, truth value, null or list stands for itself.
_MAP, _TUPLE, _FLOAT, _TENSOR = "map", "tuple", "float", "tensor"
_FILES, _TREE = "files", "tree"


class HostMemory:
    """Host memory for a copy of tensors, the same for each copy; page-locked for those of a GPU, which is faster."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def copy_of(self, name: str, tensor: Tensor) -> Tensor:
        """Return a copy that stays until the next of this name is taken."""
        kept = self._kept.get(name)
        if kept is None or (kept.shape, kept.dtype) != (tensor.shape, tensor.dtype):
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._kept[name] = kept
        return kept.copy_(tensor)


class _Pieces:
    """The tensors of one tree, cut into flat pieces, and the pieces dealt out to files of bounded size."""

    def __init__(self) -> None:
        self.files: list[dict[str, Tensor]] = []
        self._count, self._room = 0, 0

    def add(self, tensor: Tensor) -> list[str]:
        """Add a tensor; return the names of its pieces."""
        flat = tensor.detach().contiguous().view(-1)
        return [self._add_piece(piece) for piece in flat.split(max(1, _FILE_BYTES // flat.element_size()))]

    def _add_piece(self, piece: Tensor) -> str:
        if piece.nbytes > self._room or not self.files:
            self.files.append({})
            self._room = _FILE_BYTES
        name = f"{self._count}"
        self.files[-1][name] = piece
        self._room -= piece.nbytes
        self._count += 1
        return name


def copy_tree(name: str, tree: Any, memory: HostMemory) -> Files:
    """Return a tree's files: `<name>-<number>.safetensors` with its tensors and `<name>.json` with everything else.

    Keys of maps are texts or whole numbers. Tensors are copied as they are at this moment.

    Args:
        name: of the tree; another tree with the same memory has another name.
        tree: the tree.
        memory: takes the copies.

    Raises:
        RunError: the tree holds something else; the message says where.
    """
    pieces = _Pieces()
    structure = _taken_apart(tree, name, pieces)

    def copy(place: tuple[dict[str, Tensor], str]) -> None:
        file, piece = place
        file[piece] = memory.copy_of(f"{name} {piece}", file[piece])

    # The system zeroes new memory as it is first written to, which takes one thread longer than the copy.
    in_threads(copy, [(file, piece) for file in pieces.files for piece in file])
    tensors = {_tensor_file(name, number): file for number, file in enumerate(pieces.files)}
    text = json.dumps({_FILES: len(tensors), _TREE: structure}, allow_nan=False)
    return {**tensors, f"{name}.json": text}


def write_files(folder: Path, files: Files) -> dict[str, str]:
    """Write files in several threads; return the SHA-256 of each by its name when all are on disk."""

    def write(name: str) -> str:
        path, content = folder / name, files[name]
        if isinstance(content, str):
            path.write_text(content, "utf-8")
        else:
            save_file(content, path)
        sync(path)
        return sha256_of_file(path)

    return dict(zip(files, in_threads(write, files), strict=True))


def read_tree(folder: Path, name: str) -> Any:
    """Return what `copy_tree` took, from the files of `write_files`, with tensors on the CPU that no file lies behind.

    Raises:
        DataError: a file is missing or is not what was written.
    """
    path = folder / f"{name}.json"
    try:
        content = read_json(path)
        paths = [folder / _tensor_file(name, number) for number in range(content[_FILES])]
        pieces: dict[str, Tensor] = {}
        for path in paths:
            # Unlike mapped memory, what is read stays if the file is deleted.
            pieces.update(load_file(path, backend="pread"))
        return _put_together(content[_TREE], pieces)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"not the state that was saved: {error}", where=str(path), fix="delete the checkpoint's folder"
        ) from None


def _tensor_file(name: str, number: int) -> str:
    return f"{name}-{number:05d}.safetensors"


def _taken_apart(part: Any, place: str, pieces: _Pieces) -> Any:
    match part:
        case None | bool() | int() | str():
            # An enumeration of numbers or texts is written as such.
            return part
        case float():
            return part if math.isfinite(part) else {_FLOAT: str(part)}
        case Tensor():
            return {_TENSOR: [list(part.shape), pieces.add(part)]}
        case Mapping() if all(isinstance(key, str | int) for key in part):
            return {_MAP: [[key, _taken_apart(item, f"{place}.{key}", pieces)] for key, item in part.items()]}
        case list() | tuple():
            items = [_taken_apart(item, f"{place}.{index}", pieces) for index, item in enumerate(part)]
            return {_TUPLE: items} if isinstance(part, tuple) else items
    raise RunError(
        f"a checkpoint cannot hold the {type(part).__name__} at {place}",
        fix="train with an optimizer whose state is tensors, numbers and texts",
    )


def _put_together(structure: Any, pieces: dict[str, Tensor]) -> Any:
    if isinstance(structure, list):
        return [_put_together(item, pieces) for item in structure]
    if not isinstance(structure, dict):
        return structure
    ((kind, content),) = structure.items()
    match kind:
        case "map":
            return {key: _put_together(item, pieces) for key, item in content}
        case "tuple":
            return tuple(_put_together(item, pieces) for item in content)
        case "float":
            return float(content)
        case "tensor":
            shape, names = content
            parts = [pieces.pop(piece) for piece in names]
            return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(shape)
    raise ValueError(f"unknown word {kind!r}")
