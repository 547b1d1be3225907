#!/usr/bin/env python
"""Ways to attend over a shared prefix, by turns on this machine: torch's kernels for SDPA, and flex_attention.

One layer's attention of a training row, forward and backward, in shapes that differ by a token, as those of real
batches do: the first call of a shape, for which some kernels are built, and later ones. A way that does not agree with
SDPA in fp32 is not timed.

By hand:  .venv/bin/python benchmarks/attention.py --examples 512 --precision bf16
"""

import argparse
import dataclasses
import statistics
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow"))

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import RunError, run_script
from dnatune.launch.process_group import sees_gpu
from dnatune.model.flops import now
from dnatune.model.shared_prefix.attention import attend_in_groups, shared_prefix_attention
from dnatune.model.shared_prefix.packing import PackedBatch, pack_training

#: Root mean square by which a way may differ from fp32, relatively: rounding of the format, and of sums in it.
_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_KERNELS = {
    "SDPA, memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "SDPA, cuDNN": SDPBackend.CUDNN_ATTENTION,
    "SDPA, math": SDPBackend.MATH,
}
_OURS = "SDPA, as dnatune calls it"
#: What SDPA asks of an attention layer.
_LAYER = types.SimpleNamespace(is_causal=True, num_key_value_groups=1)
_DTYPE_DEFAULT = {"cpu": "fp32", "cuda": "bf16"}
#: Further tokens of an example's answer in the row, and how much shorter than the longest an example may be.
_ANSWER, _RAGGED = 2, 4

#: What to do before a row's layers, and a layer's attention by what came of it.
Prepare = Callable[[PackedBatch], Any]
Attend = Callable[[PackedBatch, Any, list[torch.Tensor]], torch.Tensor]


@dataclasses.dataclass
class Way:
    """A way to attend, and its seconds: before a row's layers, of the first call in each shape, and of later ones.

    Attributes:
        name: in the table.
        prepare: what a row needs once for all layers.
        attend: one layer.
        refused: why there are no times.
    """

    name: str
    prepare: Prepare
    attend: Attend
    once: list[float] = dataclasses.field(default_factory=list)
    first: list[float] = dataclasses.field(default_factory=list)
    later: list[float] = dataclasses.field(default_factory=list)
    refused: str | None = None


def main() -> None:
    """Check, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=128, help="examples of a row (default: 128)")
    parser.add_argument("--prefix", type=int, default=60, help="tokens of the prefix (default: 60)")
    parser.add_argument("--own", type=int, default=24, help="most tokens of an example at first (default: 24)")
    parser.add_argument("--heads", type=int, default=16, help="attention heads (default: 16)")
    parser.add_argument("--width", type=int, default=128, help="width of a head (default: 128)")
    parser.add_argument("--precision", choices=_DTYPES, help="default: bf16 on a GPU, fp32 on a CPU")
    parser.add_argument("--shapes", type=int, default=4, help="shapes, each a token longer (default: 4)")
    parser.add_argument("--repeats", type=int, default=5, help="later calls in each shape (default: 5)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device("cuda:0" if sees_gpu() else "cpu")
    dtype = _DTYPES[options.precision or _DTYPE_DEFAULT[device.type]]
    ours = Way(_OURS, lambda _: None, _dnatune)
    ways = [ours, *(Way(name, lambda _: None, _with_kernel(backend)) for name, backend in _KERNELS.items()), _flex()]
    # First a shape that no time is kept of: libraries load, allocators fill, what is compiled once is compiled.
    for turn, own in enumerate(range(options.own - 1, options.own + options.shapes)):
        row = _row(options.examples, options.prefix, own).to(device)
        shape = (1, options.heads, row.input_ids.numel(), options.width)
        states = [torch.randn(shape, device=device) for _ in range(4)]
        expected = _gradients(ours, row, None, states)
        states = [state.to(dtype) for state in states]
        # Another begins each time.
        order = ways[turn % len(ways) :] + ways[: turn % len(ways)]
        _time(order, row, states, expected, options.repeats, str(device), kept=turn > 0)
    print(_table(ways, device, dtype, options))  # noqa: T201
    if ours.refused:
        raise RunError(f"dnatune's own attention fails: {ours.refused}", fix="find out why before it is used")


def _row(examples: int, prefix: int, own: int) -> PackedBatch:
    """Return a row whose longest example has `own` tokens, its answer among them."""
    lengths = [own - _ANSWER - number % _RAGGED for number in range(examples)]
    return pack_training(
        EncodedExamples([1] * prefix, [[2] * n for n in lengths], [0] * examples, [[3] * (_ANSWER + 1)]),
        range(examples),
        shared=True,
    )


def _dnatune(row: PackedBatch, _prepared: Any, states: list[torch.Tensor]) -> torch.Tensor:
    return shared_prefix_attention(_LAYER, *states, None, groups=row.groups)[0].transpose(1, 2)


def _with_kernel(backend: SDPBackend) -> Attend:
    def attend(row: PackedBatch, _prepared: Any, states: list[torch.Tensor]) -> torch.Tensor:
        # Not through `shared_prefix_attention`, which makes a choice of its own.
        with sdpa_kernel(backend):
            return attend_in_groups(_LAYER, *states, row.groups).transpose(1, 2)

    return attend


def _flex() -> Way:
    """Return attention over the whole row, blocks that nobody looks at left out, compiled for shapes of any length."""
    attention, masks = torch.compile(flex_attention, dynamic=True), torch.compile(create_block_mask, dynamic=True)

    def prepare(row: PackedBatch) -> Any:
        prefix = row.groups[0].prefix
        owner = torch.cat([row.input_ids.new_full((prefix,), -1), *(group.owners for group in row.groups)])

        def sees(_batch: torch.Tensor, _head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
            return (key <= query) & ((key < prefix) | (owner[key] == owner[query]))

        length = len(owner)
        return masks(sees, None, None, length, length, device=owner.device.type)

    def attend(_row: PackedBatch, prepared: Any, states: list[torch.Tensor]) -> torch.Tensor:
        return attention(*states, block_mask=prepared)

    return Way("flex_attention", prepare, attend)


def _gradients(way: Way, row: PackedBatch, prepared: Any, states: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return what a way attends to, and the gradients of query, key and value with the last state as upstream one."""
    inputs = [state.clone().requires_grad_() for state in states[:3]]
    attended = way.attend(row, prepared, inputs)
    return [attended.detach(), *torch.autograd.grad(attended, inputs, states[3])]


def _time(
    ways: list[Way],
    row: PackedBatch,
    states: list[torch.Tensor],
    expected: list[torch.Tensor],
    repeats: int,
    device: str,
    kept: bool,
) -> None:
    """Let each way attend once, and then all of them by turns."""
    prepared: dict[str, Any] = {}

    def measure(way: Way, task: Callable[[], Any], times: list[float]) -> Any:
        # What a device or a library does not have, and what is wrong, is a line of the table.
        if way.refused is not None:
            return None
        try:
            started = now(device)
            result = task()
            seconds = now(device) - started
        except Exception as error:
            way.refused = (str(error).strip() or type(error).__name__).splitlines()[0][:100]
            return None
        if kept:
            times.append(seconds)
        return result

    for way in ways:
        prepared[way.name] = measure(way, lambda way=way: way.prepare(row), way.once)
        found = measure(way, lambda way=way: _gradients(way, row, prepared[way.name], states), way.first)
        for ours, truth in zip(found or [], expected, strict=False):
            error = float((ours.float() - truth).norm() / truth.norm())
            if not error <= _TOLERANCE[states[0].dtype]:
                way.refused = f"differs by {error:.1e}"
    for _ in range(repeats):
        for way in ways:
            measure(way, lambda way=way: _gradients(way, row, prepared[way.name], states), way.later)


def _table(ways: list[Way], device: torch.device, dtype: torch.dtype, options: argparse.Namespace) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    lines = [
        f"{name}, torch {torch.__version__}, {str(dtype).removeprefix('torch.')}; {options.examples} examples of up to "
        f"{options.own} to {options.own + options.shapes - 1} tokens behind {options.prefix}, {options.heads} heads of "
        f"{options.width}; one layer forward and backward, milliseconds, median (range)",
        "",
        "| way | once a row | first call of a shape | later calls |",
        "|---|---|---|---|",
    ]
    for way in ways:
        cells = [way.refused, "", ""] if way.refused else [_spread(t) for t in (way.once, way.first, way.later)]
        lines.append(f"| {way.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(seconds: list[float]) -> str:
    median, least, most = (1000 * value for value in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{median:.3g} ({least:.3g}–{most:.3g})"


if __name__ == "__main__":
    run_script(main)
