"""The safetensors files of a model folder, read and written one tensor at a time."""

import contextlib
import dataclasses
import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from dnatune.errors import ModelError, RunError
from dnatune.files import write_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
#: Names of number formats in a file's header.
_FORMATS = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"} | {
    getattr(torch, name): code
    for name, code in (
        ("float64", "F64"),
        ("int64", "I64"),
        ("int32", "I32"),
        ("int16", "I16"),
        ("int8", "I8"),
        ("uint8", "U8"),
        ("bool", "BOOL"),
    )
}
_TYPES = {code: dtype for dtype, code in _FORMATS.items()}


@dataclasses.dataclass(frozen=True)
class Stored:
    """One tensor of a file: its name there, shape and number format, as the file's header gives them."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self) -> torch.Tensor:
        """Return the tensor; the file is closed again, so that it takes no memory once the tensor is dropped."""
        with safe_open(self.file, "pt") as opened:
            return opened.get_tensor(self.name)


def stored_tensors(files: Iterable[Path]) -> dict[str, Stored]:
    """Return the tensors of files by name, in the order of the files; only headers are read.

    Raises:
        ModelError: a file is missing or damaged, or holds a number format that dnatune does not read.
    """
    found: dict[str, Stored] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.offset_keys():
                    part = opened.get_slice(name)
                    found[name] = Stored(file, name, tuple(part.get_shape()), _type_of(part.get_dtype(), file, name))
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"the file of weights cannot be read: {error}", where=str(file), fix="download or copy it again"
            ) from None
    return found


def _type_of(code: str, file: Path, name: str) -> torch.dtype:
    if code not in _TYPES:
        raise ModelError(
            f"{name} is stored as {code}, which dnatune does not read",
            where=str(file),
            fix="use a model whose weights are not quantised",
        )
    return _TYPES[code]


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights of a model folder.

    Raises:
        ModelError: there are none, the index is damaged, or a file that it names is missing.
    """
    whole, index = folder / WEIGHTS, folder / INDEX
    if whole.is_file():
        return [whole]
    try:
        names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        files = [folder / Path(name).name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"the model folder has neither {WEIGHTS} nor a whole {INDEX}",
            where=str(folder),
            fix="download or copy the model again",
        ) from None
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise ModelError(
            f"{INDEX} names {', '.join(missing[:3]) or 'no file'}{', …' if missing[3:] else ''}, and the folder lacks "
            f"{len(missing)} of its {len(files)} files",
            where=str(folder),
            fix="download or copy the model again",
        )
    return files


@contextlib.contextmanager
def weight_file(
    path: Path, layout: Mapping[str, tuple[torch.dtype, Iterable[int]]]
) -> Iterator[Callable[[str, torch.Tensor], None]]:
    """Write a safetensors file part by part: yield a function that appends numbers to one of its tensors.

    Threads may call it at once for different tensors. The format (github.com/huggingface/safetensors): 8 bytes with the
    header's length, the header as JSON, the numbers.

    Args:
        path: file to write.
        layout: number format and shape of each tensor, by name.

    Raises:
        RunError: a tensor has got more or fewer numbers than its shape has.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    spans, end = {}, 0
    for name, (dtype, shape) in layout.items():
        begin, end = end, end + dtype.itemsize * math.prod(shape)
        spans[name] = begin, end
        header[name] = {"dtype": _FORMATS[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers = 8 + len(text)
    places = {name: begin for name, (begin, _) in spans.items()}
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.flush()

        def append(name: str, block: torch.Tensor) -> None:
            left = memoryview(block.contiguous().flatten().view(torch.uint8).numpy())
            while left:
                written = os.pwrite(stream.fileno(), left, numbers + places[name])
                places[name] += written
                left = left[written:]
            if places[name] == spans[name][1] and hasattr(os, "posix_fadvise"):
                # At this, Linux begins to write it to disk (mm/fadvise.c), and a sync at the end has less to wait for.
                span = numbers + spans[name][0], spans[name][1] - spans[name][0]
                os.posix_fadvise(stream.fileno(), *span, os.POSIX_FADV_DONTNEED)

        yield append
    for name, (begin, end) in spans.items():
        if places[name] != end:
            told = f"{places[name] - begin} bytes of {name} were written and the header names {end - begin}"
            raise RunError(told, where=str(path))


def write_index(folder: Path, files: Mapping[str, str]) -> None:
    """Write the index of weights that lie in several files.

    Args:
        folder: the model folder.
        files: file of each tensor, by name.
    """
    size = sum((folder / file).stat().st_size for file in set(files.values()))
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": dict(files)})
