"""Measurements that scoring and training have in common: seconds, rates, FLOPs, and rows of several lengths."""

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

#: Fewest examples of a timed row.
_FEWEST_IN_A_ROW = 8


def rates(seconds: float, count: int, executed: int, needed: int, peak: float) -> dict[str, float]:
    """Return the rates and FLOPs of one global batch."""
    return {
        "examples_per_second": count / seconds,
        "executed_flops": executed,
        "floor_flops": needed,
        "executed_over_floor": executed / needed,
        # Shares of the device's peak: the FLOPs it executed, and the FLOPs it needed to execute.
        "executed_utilisation": executed / seconds / peak,
        "model_flop_utilisation": needed / seconds / peak,
    }


def timed(task: Callable[[], Any], device: str) -> Callable[[], float]:
    """Return a function that runs a task and returns the seconds it took."""

    def run() -> float:
        started = now(device)
        task()
        return now(device) - started

    return run


def floor_work(batches: Sequence[packing.PackedBatch]) -> Work:
    """Return the least work that a forward pass over shared-prefix rows requires."""
    return sum((flops.required_work(batch) for batch in batches), Work(0, 0, 0))


def time_rows(
    bench: Bench,
    count: int,
    pack: Callable[[int], packing.PackedBatch],
    task: Callable[[int], Callable[[], float]],
) -> list[dict[str, Any]]:
    """Time shared-prefix rows of several lengths in turn: all examples in one row, half of them, a quarter, and so on.

    Rows that do not fit into a GPU's memory are left out.

    Args:
        bench: the inputs of the measurement.
        count: total number of examples.
        pack: makes a row of the given number of examples.
        task: makes the task to time for the given number of examples per row.
    """
    halves = [count >> halvings for halvings in range(1, count.bit_length())]
    sizes = [count, *(size for size in halves if size >= _FEWEST_IN_A_ROW)]
    tasks = {str(size): task(size) for size in sizes}
    for size in list(sizes):
        if not _fits(tasks[str(size)]):
            _LOG.warning("a row of %d examples does not fit into memory; it is not timed", size)
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
    """Run a task once as a warm-up (memory is allocated, kernels are chosen) and return whether memory sufficed."""
    try:
        task()
    except RuntimeError as error:
        if not memory_ended(error):
            raise
    else:
        return True
    torch.cuda.empty_cache()
    return False
