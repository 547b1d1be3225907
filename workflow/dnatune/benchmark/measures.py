"""What scoring and training are measured alike by: seconds, rates, FLOPs, rows of several lengths."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from dnatune.benchmark import timing
from dnatune.benchmark.bench import Bench
from dnatune.errors import memory_ended
from dnatune.model import flops
from dnatune.model.flops import Work, now
from dnatune.model.shared_prefix import packing

_LOG = logging.getLogger(__name__)

#: Shortest row that is timed.
_FEWEST_IN_A_ROW = 8


def rates(seconds: float, count: int, executed: int, needed: int, peak: float) -> dict[str, float]:
    """Return rates and FLOPs of a global batch."""
    return {
        "examples_per_second": count / seconds,
        "executed_flops": executed,
        "floor_flops": needed,
        "executed_over_floor": executed / needed,
        # Of what the device could do: what it did, and what it had to do.
        "executed_utilisation": executed / seconds / peak,
        "model_flop_utilisation": needed / seconds / peak,
    }


def timed(task: Callable[[], Any], device: str) -> Callable[[], float]:
    """Return a function that runs a task and returns its seconds."""

    def run() -> float:
        started = now(device)
        task()
        return now(device) - started

    return run


def floor_work(batches: Sequence[packing.PackedBatch]) -> Work:
    """Return the least that a forward pass over shared rows has to compute."""
    return sum((flops.required_work(batch) for batch in batches), Work(0, 0, 0))


def time_rows(
    bench: Bench,
    count: int,
    pack: Callable[[int], packing.PackedBatch],
    task: Callable[[int], Callable[[], float]],
) -> list[dict[str, Any]]:
    """Time shared rows of several lengths by turns: all examples in one row, halves of them, and so on.

    Rows that do not fit into a GPU's memory are left out.

    Args:
        bench: what is measured with.
        count: examples in all.
        pack: a row of so many examples.
        task: what to time with so many examples in a row.
    """
    halves = [count >> halvings for halvings in range(1, count.bit_length())]
    sizes = [count, *(size for size in halves if size >= _FEWEST_IN_A_ROW)]
    tasks = {str(size): task(size) for size in sizes}
    for size in list(sizes):
        if not _fits(tasks[str(size)]):
            _LOG.warning("%d examples do not fit into one row, whose time is left out", size)
            sizes.remove(size)
            del tasks[str(size)]
    seconds = timing.by_turns(tasks, bench.own["repeats"], bench.neighbours)
    return [
        {
            "examples": size,
            "tokens": pack(size).input_ids.numel(),
            "seconds": seconds[str(size)],
            **timing.spread(seconds[str(size)]),
        }
        for size in sizes
    ]


def _fits(task: Callable[[], Any]) -> bool:
    """Do a task once and tell whether memory sufficed; memory is first touched, kernels are first chosen."""
    try:
        task()
    except RuntimeError as error:
        if not memory_ended(error):
            raise
    else:
        return True
    torch.cuda.empty_cache()
    return False
