"""How long a shared row should be: the same examples in rows of several lengths, timed in turns."""

import logging
from collections.abc import Callable
from typing import Any

import torch

from dnatune.benchmark import timing
from dnatune.benchmark.bench import Bench
from dnatune.errors import memory_ended
from dnatune.model.shared_prefix.packing import PackedBatch

_LOG = logging.getLogger(__name__)

#: Examples in the shortest row that is timed.
_FEWEST_IN_A_ROW = 8


def time_rows(
    bench: Bench,
    count: int,
    pack: Callable[[int], PackedBatch],
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
        if not fits(tasks[str(size)]):
            _LOG.warning("a row of %d examples does not fit into memory; it is not timed", size)
            sizes.remove(size)
            del tasks[str(size)]
    seconds = timing.by_turns(tasks, bench.own.repeats, bench.neighbours)
    return [
        {
            "examples": size,
            "tokens": pack(size).input_ids.numel(),
            "seconds": seconds[str(size)],
            **timing.spread(seconds[str(size)]),
        }
        for size in sizes
    ]


def fits(task: Callable[[], Any]) -> bool:
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
