"""The tensors of a merged model: what each is made of, and how they are rounded and written."""

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from dnatune.errors import ModelError
from dnatune.model import base_models
from dnatune.model.weight_files import WEIGHTS, Stored, weight_file, write_index

#: torch's number formats by their names in the settings.
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
#: Numbers of a tensor that are computed at a time. They fit into a core's cache; 2^24 take four times as long.
_BLOCK = 1 << 19
#: Most tensors that are in memory at once. At 8 billion weights, one of a layer holds 0.6 GB, an embedding 3.2 GB.
_THREADS = 8


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of the merged model and what it is made of.

    Attributes:
        parameter: the parameter that it is; None if the architecture has none of that name.
        base: the base's tensor; of a part that was made for the adapter, the adapter's.
        rows: number of rows, where new tokens add some.
        replacement: of a module that was trained in full, its tensor in the adapter.
        layer: of a module that has an update, peft's layer.
        file: name of the file to write it into; default: that of the base's tensor.
    """

    parameter: str | None
    base: Stored
    rows: int | None = None
    replacement: Stored | None = None
    layer: LoraLayer | None = None
    file: str | None = None

    @property
    def home(self) -> str:
        """Return the name of the file to write it into."""
        return self.file or self.base.file.name

    @property
    def changed(self) -> bool:
        """Tell whether training changed it."""
        return self.replacement is not None or self.layer is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape."""
        return self.base.shape if self.rows is None else (self.rows, *self.base.shape[1:])

    def exact(self) -> torch.Tensor:
        """Return the merged tensor before it is rounded."""
        return self._merged(*self._read())[1]

    def blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the numbers of the base's tensor and of the merged one in blocks; fp32 where it is changed."""
        parts = (part.flatten().split(_BLOCK) for part in self._read())
        for block in zip(*parts, strict=True):
            yield self._merged(*block)

    def _read(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the base's tensor, and what replaces it or is added to it; of one that is not changed itself."""
        base = base_models.with_new_rows(self.base.read(), self.rows)
        if not self.changed:
            return base, base
        other = self.replacement.read() if self.replacement else self.layer.get_delta_weight("default")
        if other.shape != base.shape:
            raise ModelError(
                f"the adapter's {self.parameter} is {tuple(other.shape)} and the base model's {tuple(base.shape)}",
                where=str(self.base.file),
                fix="give the base model on which the adapter was trained",
            )
        return base, other

    def _merged(self, base: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.changed:
            return base, base
        base = base.float()
        return base, other.float() if self.replacement else base + other


def write(tensors: Mapping[str, Tensor], folder: Path, dtype: str | None) -> dict[str, Any]:
    """Write the files of weights, and return what rounding has left of the update, as `Storage` has it.

    Each thread takes a tensor, the largest first.
    """
    files: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        files.setdefault(tensor.home, []).append(name)
    formats = {name: _format(tensor.base.dtype, dtype) for name, tensor in tensors.items()}
    order = sorted(tensors, key=lambda name: math.prod(tensors[name].shape), reverse=True)
    with contextlib.ExitStack() as stack:
        append: dict[str, Callable[[str, torch.Tensor], None]] = {}
        for file, members in files.items():
            layout = {name: (formats[name], tensors[name].shape) for name in members}
            append |= dict.fromkeys(members, stack.enter_context(weight_file(folder / file, layout)))

        def store(name: str) -> torch.Tensor:
            return _store(name, tensors[name], formats[name], append[name])

        pool = stack.enter_context(_single_threads())
        squares = dict(zip(order, pool.map(store, order), strict=True))
    if set(files) != {WEIGHTS}:
        write_index(folder, {name: tensor.home for name, tensor in tensors.items()})
    return _kept(tensors, formats, squares)


def _format(stored: torch.dtype, dtype: str | None) -> torch.dtype:
    return FORMATS[dtype] if dtype is not None and stored.is_floating_point else stored


@contextlib.contextmanager
def _single_threads() -> Iterator[Executor]:
    """Yield a pool of as many threads as torch computes with, but for `_THREADS`, each of which computes alone."""
    count = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(min(count, _THREADS), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        # The matrix library has one number for all threads.
        torch.set_num_threads(count)


@torch.no_grad()
def _store(name: str, tensor: Tensor, dtype: torch.dtype, append: Callable[[str, torch.Tensor], None]) -> torch.Tensor:
    """Round a tensor and write it.

    Returns:
        Squared norms of the update, of what is stored of it and of their difference [3], in fp64.

    Raises:
        ModelError: a weight is too large for the format.
    """
    squares = torch.zeros(3, dtype=torch.float64)
    for old, new in tensor.blocks():
        stored = new.to(dtype)
        if tensor.changed or dtype != new.dtype:
            known = stored.float()
            parts = (new - old, known - old, known - new)
            squares += torch.stack([part.norm().double().square() for part in parts])
            # Norms of finite numbers may overflow too.
            if not bool(squares.isfinite().all()) and not bool(stored.isfinite().all()):
                raise ModelError(
                    f"{name} has weights that {dtype} cannot hold".replace("torch.", ""),
                    where="config key 'merge.dtype'",
                    fix="store the merged model as bf16 or fp32",
                )
        append(name, stored)
    return squares


def _kept(
    tensors: Mapping[str, Tensor], formats: Mapping[str, torch.dtype], squares: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Return the fields of `Storage` from the squared norms of `_store`."""
    changed = [name for name, tensor in tensors.items() if tensor.changed]
    total = sum(squares[name] for name in changed)
    kept = {name: _share(squares[name]) for name in changed}
    least = min(kept, key=kept.get)
    sizes: Counter[torch.dtype] = Counter()
    for name in changed:
        sizes[formats[name]] += math.prod(tensors[name].shape)
    ((dtype, _),) = sizes.most_common(1)
    return {
        "dtype": next(name for name, one in FORMATS.items() if one == dtype),
        "update_kept": _share(total),
        "least_kept": kept[least],
        "least_kept_tensor": least,
        "update_error": float((total[2] / total[0]).sqrt()) if total[0] else 0.0,
    }


def _share(squares: torch.Tensor) -> float:
    """Return ‖stored − base‖ ÷ ‖update‖; 1 where nothing was to be changed."""
    return float((squares[1] / squares[0]).sqrt()) if squares[0] else 1.0
