"""Slurm's programs as dnatune calls them: squeue, scontrol, scancel and srun."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

from dnatune.errors import RunError
from dnatune.launch.process_group import die_with_parent

_LOG = logging.getLogger(__name__)
#: How long Slurm may take to end a job that it has put back into the queue.
_REQUEUE_SECONDS = 120
#: How often Slurm is asked to requeue a job, how long it may take to answer, and the pause before it is asked again.
_REQUEUE_TRIES, _ANSWER_SECONDS, _REQUEUE_PAUSE = 3, 20, 20


class Job(NamedTuple):
    """A job that has not ended: Slurm's number, its state, and the comment with which it was submitted."""

    number: str
    state: str
    comment: str


def job_state(job: str) -> str | None:
    """Return a job's state, `GONE` if Slurm no longer knows the job, and None if Slurm cannot be asked.

    Slurm knows an ended job for the cluster's MinJobAge, with accounting and without.
    """
    done = _squeue("--jobs", job, "--states", "all", "--format", "%T")
    if done is None:
        return None
    if done.returncode:
        return "GONE" if "Invalid job id" in done.stderr else None
    return done.stdout.strip() or "GONE"


def pending_jobs() -> dict[str, str]:
    """Return {number: comment} of this user's pending jobs; empty if Slurm cannot be asked."""
    return {job.number: job.comment for job in _jobs("--states", "PENDING")}


def jobs_named(name: str) -> list[Job]:
    """Return this user's jobs of a name that have not ended; none if Slurm cannot be asked."""
    return _jobs("--name", name)


def _jobs(*arguments: str) -> list[Job]:
    done = _squeue("--me", "--format", "%i|%T|%k", *arguments)
    lines = done.stdout.splitlines() if done else []
    return [Job(*line.split("|", 2)) for line in lines if line.count("|") >= 2]


def cancel(jobs: Collection[str], number: signal.Signals | None = None) -> None:
    """Cancel jobs by their numbers, or send a signal to their steps. Nothing is raised: ask again what became of it."""
    if jobs:
        options = [f"--signal={number.name.removeprefix('SIG')}"] if number else []
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(["scancel", *options, *sorted(jobs)], capture_output=True, check=False, timeout=20)


def _squeue(*arguments: str) -> subprocess.CompletedProcess | None:
    try:
        command = ["squeue", "--noheader", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None


def hostnames(nodes: str) -> list[str]:
    """Return the names in a node list such as `gn[1-3]`.

    Raises:
        RunError: scontrol does not answer.
    """
    return _scontrol("show", "hostnames", nodes).split()


def node_address(host: str) -> str:
    """Return the address at which Slurm itself reaches a node, which need not be what its name resolves to.

    Raises:
        RunError: scontrol does not answer.
    """
    fields = dict(word.split("=", 1) for word in _scontrol("show", "node", host, "--oneliner").split() if "=" in word)
    return fields.get("NodeAddr", host)


def _scontrol(*arguments: str) -> str:
    try:
        done = subprocess.run(["scontrol", *arguments], capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        raise RunError("scontrol has not answered for a minute", fix="see whether slurmctld runs") from None
    if done.returncode or not done.stdout.strip():
        raise RunError(
            f"`scontrol {' '.join(arguments)}` says: {(done.stderr or 'nothing').strip()}",
            fix="try it inside a job on this cluster",
        )
    return done.stdout


def start_on_each_node(arguments: Sequence[str], nodes: int, cpus: int) -> subprocess.Popen:
    """Start Python once on each node of this job and return srun.

    A process that fails ends those of the other nodes. srun ends with this process. It hands USR1 on to all processes
    on all nodes; to SIGTERM it answers by killing them (both seen with Slurm 22.05).

    Args:
        arguments: what follows the interpreter on the command line.
        nodes: number of nodes.
        cpus: cores of each node.
    """
    command = [
        "srun",
        f"--nodes={nodes}",
        f"--ntasks={nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cpus}",
        "--kill-on-bad-exit=1",
        "--export=ALL",
        sys.executable,
        *arguments,
    ]
    parent = os.getpid()
    # In a session of its own, so that a signal to this process's group reaches it only from here.
    return subprocess.Popen(command, start_new_session=True, preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM))


def requeue() -> str | None:
    """Put this job back into the queue, where it waits to go on; return only if the cluster does not allow that.

    To Snakemake a job that continues in this way is still the same. A controller that is busy, or that is just being
    replaced, is asked again. What it says is logged.

    Returns:
        What kept Slurm from it; None outside a job, or if Slurm has agreed and not yet ended this process.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    command = ["scontrol", "requeue", job]
    program, refusal = f"`{' '.join(command)}`", ""
    for attempt in range(_REQUEUE_TRIES):
        if attempt:
            time.sleep(_REQUEUE_PAUSE)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
        except OSError as error:
            _LOG.warning("%s cannot be started: %s", program, error)
            return f"{program} cannot be started: {error}"
        except subprocess.TimeoutExpired:
            refusal = f"{program} has not answered for {_ANSWER_SECONDS} s"
        else:
            if done.returncode == 0:
                # Slurm ends this process along with the job's others.
                time.sleep(_REQUEUE_SECONDS)
                return None
            said = done.stderr.strip() or f"nothing, with exit status {done.returncode}"
            refusal = f"{program} says: {said}"
        _LOG.warning("%s", refusal)
    return refusal
