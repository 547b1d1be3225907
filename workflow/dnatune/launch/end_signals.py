"""What Snakemake does if it is told to end: its jobs on this machine are told too, and a training is saved first."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil

#: Seconds between two looks for jobs that were just being started.
_LOOK_SECONDS = 0.5
_SHELLS = ("bash", "sh", "dash")


def end_jobs_too() -> None:
    """Hand SIGTERM, SIGINT and SIGHUP on to the jobs that this Snakemake runs on its machine, and start no others.

    Snakemake itself waits for its jobs after SIGTERM, and its jobs never hear of it. To be called when
    Snakemake's scheduler has set its own handler. A second signal does what it would have done without this.
    """
    if threading.current_thread() is not threading.main_thread():
        # Somebody's program runs Snakemake in a thread, where Python sets no handler.
        return
    start_no_others = signal.getsignal(signal.SIGTERM)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    # A signal that is ignored, as SIGHUP is under nohup, stays so.
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}

    def end(number: int, frame: Any) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        # The scheduler's handler takes a lock that this thread may hold.
        threading.Thread(target=_end_jobs, args=(lambda: start_no_others(number, frame),), daemon=True).start()

    for number in before:
        signal.signal(number, end)


def _end_jobs(start_no_others: Any) -> None:
    start_no_others()
    told: set[psutil.Process] = set()
    while True:
        for process in _stages():
            if process not in told:
                told.add(process)
                process.terminate()
        time.sleep(_LOOK_SECONDS)


def _stages() -> "Iterator[psutil.Process]":
    """Yield the stages that run; the shells in between would end without waiting for them."""
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            yield from child.children() if child.name() in _SHELLS else [child]
