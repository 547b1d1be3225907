"""Timings that can be compared: tasks take turns, and what other processes do meanwhile is watched."""

import gc
import logging
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_LOG = logging.getLogger(__name__)
#: Cores that others may use, on average, while a timing counts as undisturbed; and seconds of a look at them.
_QUIET, _LISTEN = 0.1, 2.0


class Neighbours:
    """What other processes take of this machine's cores meanwhile, by Linux's counters; elsewhere nothing is known.

    A multiplication that shares its cores waits at every barrier of its threads, and small ones suffer most: what
    disturbs a timing disturbs the recipes unequally.

    Args:
        patience: seconds, in all, to spend on waiting for quiet and on repeating what was disturbed.
    """

    _COUNTERS = Path("/proc/stat")

    def __init__(self, patience: float):
        self.patience = patience
        self.seen: list[float] = []
        self.repeated = 0

    def busy(self) -> float | None:
        """Return core-seconds that others have used since the machine started."""
        if not self._COUNTERS.is_file():
            return None
        # user, nice, system, idle, waiting, interrupts and soft ones, stolen; a guest's time is in the user's.
        ticks = [int(word) for word in self._COUNTERS.read_text("utf-8").split("\n", 1)[0].split()[1:9]]
        own = resource.getrusage(resource.RUSAGE_SELF)
        used = sum(ticks) - ticks[3] - ticks[4]
        return used / os.sysconf("SC_CLK_TCK") - own.ru_utime - own.ru_stime

    def undisturbed(self, task: Callable[[], Any]) -> Any:
        """Return what a task returns, done in quiet as far as patience lasts."""
        while True:
            self._wait()
            result, cores, seconds = self._observe(task)
            if cores is None or cores <= _QUIET or self.patience <= 0:
                if cores is not None:
                    self.seen.append(cores)
                return result
            self.patience -= seconds
            self.repeated += 1
            _LOG.info("done again: others used %.2f cores meanwhile", cores)

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
    """Return what each task returned each time; the tasks take turns, so that a slow minute meets all of them."""
    results: dict[str, list[Any]] = {name: [] for name in tasks}
    for repeat in range(repeats):
        for name, task in tasks.items():
            gc.collect()
            results[name].append(neighbours.undisturbed(task))
            # Told at once, for a measurement that is cut short leaves its log only. What the task says it measured:
            # the time of this call holds waiting for quiet and repetitions too.
            _LOG.info("round %d of %d: %s: %s", repeat + 1, repeats, name, results[name][-1])
    return results


def warm_up(tasks: Mapping[str, Callable[[], Any]]) -> None:
    """Do each task once: memory is first touched, kernels are first chosen."""
    for task in tasks.values():
        task()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def speedups(seconds: Mapping[str, Sequence[float]], fastest: str) -> dict[str, dict[str, float]]:
    """Return how many times as long each recipe takes as `fastest`; pairs of one round give the range."""
    return {
        name: {
            **spread([slow / fast for slow, fast in zip(values, seconds[fastest], strict=True)]),
            "median": statistics.median(values) / statistics.median(seconds[fastest]),
        }
        for name, values in seconds.items()
        if name != fastest
    }
