"""Comparable timings: tasks are timed in turn, and the load by other processes is observed meanwhile."""

import gc
import logging
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dnatune.model.flops import now

_LOG = logging.getLogger(__name__)
#: Mean number of cores that other processes may use during a valid timing, and the seconds of one observation.
_QUIET, _LISTEN = 0.1, 2.0


class Neighbours:
    """The load that other processes put on this machine's cores, from Linux's counters; unknown on other systems.

    A matrix product on shared cores waits at every thread barrier, and small products lose most, so other load slows
    the recipes unequally.

    Args:
        patience: total seconds to spend on waiting for an idle machine and on repeating disturbed timings.
    """

    _COUNTERS = Path("/proc/stat")

    def __init__(self, patience: float):
        self.patience = patience
        self.seen: list[float] = []
        self.repeated = 0

    def busy(self) -> float | None:
        """Return the core-seconds that other processes have used since the machine started; None if unknown."""
        if not self._COUNTERS.is_file():
            return None
        # user, nice, system, idle, iowait, irq, softirq, steal; guest time is already counted in user time.
        ticks = [int(word) for word in self._COUNTERS.read_text("utf-8").split("\n", 1)[0].split()[1:9]]
        own = resource.getrusage(resource.RUSAGE_SELF)
        used = sum(ticks) - ticks[3] - ticks[4]
        return used / os.sysconf("SC_CLK_TCK") - own.ru_utime - own.ru_stime

    def undisturbed(self, task: Callable[[], Any]) -> Any:
        """Return the task's result; repeat the task until other processes did not disturb it or patience runs out."""
        while True:
            self._wait()
            result, cores, seconds = self._observe(task)
            if cores is None or cores <= _QUIET or self.patience <= 0:
                if cores is not None:
                    self.seen.append(cores)
                return result
            self.patience -= seconds
            self.repeated += 1
            _LOG.info("repeating the timing: other processes used %.2f cores meanwhile", cores)

    def _wait(self) -> None:
        while self.patience > 0:
            _, cores, seconds = self._observe(lambda: time.sleep(_LISTEN))
            if cores is None or cores <= _QUIET:
                return
            self.patience -= seconds

    def _observe(self, task: Callable[[], Any]) -> tuple[Any, float | None, float]:
        before, started = self.busy(), time.perf_counter()
        result = task()
        after, seconds = self.busy(), time.perf_counter() - started
        if before is None or after is None:
            return result, None, seconds
        return result, max(0.0, after - before) / seconds, seconds


def by_turns(tasks: Mapping[str, Callable[[], Any]], repeats: int, neighbours: Neighbours) -> dict[str, list[Any]]:
    """Return the results of each task; the tasks run in turn, so that a slow minute affects all of them."""
    results: dict[str, list[Any]] = {name: [] for name in tasks}
    for repeat in range(repeats):
        for name, task in tasks.items():
            gc.collect()
            results[name].append(neighbours.undisturbed(task))
            # Logged at once, because a measurement that is cut short leaves only its log. The task's own result is
            # logged, because the duration of this call includes waiting and repetitions.
            _LOG.info("round %d of %d: %s: %s", repeat + 1, repeats, name, results[name][-1])
    return results


def warm_up(tasks: Mapping[str, Callable[[], Any]]) -> None:
    """Run each task once, so that memory is allocated and kernels are chosen before any timing."""
    for task in tasks.values():
        task()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the minimum and the maximum."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def speedups(seconds: Mapping[str, Sequence[float]], fastest: str) -> dict[str, dict[str, float]]:
    """Return each recipe's time ÷ that of `fastest`; the range is taken over the ratios of rounds of one number."""
    return {
        name: {
            **spread([slow / fast for slow, fast in zip(values, seconds[fastest], strict=True)]),
            "median": statistics.median(values) / statistics.median(seconds[fastest]),
        }
        for name, values in seconds.items()
        if name != fastest
    }


def timed(task: Callable[[], Any], device: str) -> Callable[[], float]:
    """Return a function that runs a task and returns the seconds it took."""

    def run() -> float:
        started = now(device)
        task()
        return now(device) - started

    return run


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
