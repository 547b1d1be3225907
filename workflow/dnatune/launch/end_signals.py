"""What Snakemake does if it is told to end: its jobs are told too, here and on Slurm, and a training is saved first."""

import asyncio
import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from dnatune.launch import slurm

if TYPE_CHECKING:
    import psutil

#: Seconds between two looks for jobs that were just being started, on this machine and on Slurm.
_LOOK_SECONDS, _SLURM_LOOK_SECONDS = 0.5, 2
#: Seconds after the signal that trainings on Slurm have to save, and after which Snakemake waits for no job.
_SAVE_SECONDS, _LAST_SECONDS = 36, 50
_SHELLS = ("bash", "sh", "dash")
#: What is no stage: programs by which Slurm is asked how jobs are, and told to end them.
_SLURM_PROGRAMS = ("squeue", "sacct", "scancel", "scontrol", "sbatch", "sacctmgr", "sinfo")
#: How the comments begin of jobs that train; the plugin writes them from the names of rules.
_TRAINING = ("rule_finetune_", "rule_trial_", "rule_fine_trial_")
_TOLD = threading.Event()


def told_to_end() -> bool:
    """Return whether this Snakemake was told to end; a job without a message then needs none."""
    return _TOLD.is_set()


def end_jobs_too(executor: Any = None) -> None:
    """Hand SIGTERM, SIGINT and SIGHUP on to the jobs of this Snakemake, and start no others.

    Snakemake itself waits for its jobs after SIGTERM, and its jobs never hear of it. To be called when
    Snakemake's scheduler has set its own handler. A second signal does what it would have done without this.

    Args:
        executor: Snakemake's executor if it submits jobs to Slurm. A closed terminal (SIGHUP) then ends Snakemake
            alone, and its jobs work on.
    """
    if threading.current_thread() is not threading.main_thread():
        # Somebody's program runs Snakemake in a thread, where Python sets no handler.
        return
    start_no_others = signal.getsignal(signal.SIGTERM)
    numbers = (signal.SIGTERM, signal.SIGINT) if executor else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    # A signal that is ignored, as SIGHUP is under nohup, stays so.
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    submitted = _SlurmJobs(executor) if executor else None

    def end(number: int, frame: Any) -> None:
        _TOLD.set()
        for each, handler in before.items():
            signal.signal(each, handler)
        # The scheduler's handler takes a lock that this thread may hold.
        start_none = functools.partial(start_no_others, number, frame)
        threading.Thread(target=_end_jobs, args=(start_none,), daemon=True).start()
        if submitted:
            threading.Thread(target=submitted.end, daemon=True).start()

    for number in before:
        signal.signal(number, end)


def _end_jobs(start_no_others: Callable[[], Any]) -> None:
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
            found = child.children() if child.name() in _SHELLS else [child]
            yield from (process for process in found if process.name() not in _SLURM_PROGRAMS)


class _SlurmJobs:
    """The Slurm jobs of one Snakemake.

    Args:
        executor: the Slurm plugin's. Between two looks at its jobs it sleeps for up to three minutes; from now on the
            order to end wakes it.
    """

    def __init__(self, executor: Any):
        self._executor = executor
        regular = executor.sleep

        async def sleep() -> None:
            pause = asyncio.ensure_future(regular())
            while not pause.done() and not told_to_end():
                await asyncio.wait([pause], timeout=1)
            if not pause.done():
                pause.cancel()
                await asyncio.sleep(_SLURM_LOOK_SECONDS)

        executor.sleep = sleep

    def end(self) -> None:
        """Let trainings save, cancel all jobs, and see to it that Snakemake does not wait for any longer."""
        self._executor.logger.warning(
            "dnatune: told to end: trainings are saved, then all jobs of this Snakemake are cancelled"
        )
        began, told = time.monotonic(), set[str]()
        while (passed := time.monotonic() - began) < _LAST_SECONDS:
            jobs = slurm.jobs_named(self._executor.run_uuid)
            training = {job.number for job in jobs if job.state == "RUNNING" and job.comment.startswith(_TRAINING)}
            saving = training if passed < _SAVE_SECONDS else set()
            # As before the end of its time: a run that is saved puts its job back into the queue, from where it goes.
            slurm.cancel(saving - told, signal.SIGUSR1)
            told |= saving
            slurm.cancel({job.number for job in jobs} - saving)
            time.sleep(_SLURM_LOOK_SECONDS)
        # As a second Ctrl-C: Snakemake unlocks its folder and ends.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
