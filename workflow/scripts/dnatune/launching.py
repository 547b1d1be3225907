"""How ranks meet: start them, on this machine or on the nodes of a Slurm job, wait for them, tell what broke."""

import dataclasses
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dnatune import errors
from dnatune.errors import DnatuneError, Interrupted, RunError
from dnatune.files import publish_file
from dnatune.ranks import INTERRUPTED_FILE, LAUNCHER, end_with

_LOG = logging.getLogger(__name__)
#: File by which the launcher of one node tells that of all the same.
_WORD = "interrupted"
#: Ports of rendezvous over several nodes, below those that systems hand out by themselves.
_FIRST_PORT, _PORTS = 12000, 18000
#: How long the first node may keep the others waiting.
_MEETING_SECONDS = 600
#: glibc gives large blocks back to the system when they are freed, and takes them again, zeroed page by page, for the
#: next step's logits and gradients. A rank keeps what it has had.
_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
#: How long Slurm may take to end a job that it has put back into the queue.
_REQUEUE_SECONDS = 120
#: How often Slurm is asked to do so, how long it is given to answer, and the pause before it is asked again.
_REQUEUE_TRIES, _ANSWER_SECONDS, _REQUEUE_PAUSE = 3, 20, 20


@dataclasses.dataclass(frozen=True)
class Node:
    """One node of a run that has several, as Slurm describes it to the launcher there.

    Attributes:
        index: from 0; node 0 has the rendezvous.
        count: number of nodes.
        address: of node 0.
        own_address: of this node.
        port: of the rendezvous; it follows from the job, so that jobs side by side do not meet.
        job: Slurm's number.
    """

    index: int
    count: int
    address: str
    own_address: str
    port: int
    job: str


def start_nodes(arguments: Sequence[str], nodes: int, cpus: int, state: Path) -> None:
    """Start this launcher once on each node of the allocation, by srun, and wait for all of them.

    The Slurm plugin runs a job of several nodes outside any step, so that `srun` can spread it. One launcher that
    fails ends the others.

    Args:
        arguments: the command line of launch.py for one node.
        nodes: number of nodes.
        cpus: cores of each node.
        state: folder that all nodes see, for `leave_word`.

    Raises:
        RunError: not inside an allocation, or a launcher failed; its exit status is that of the launcher.
        Interrupted: the ranks wrote a checkpoint and ended because the job was about to.
    """
    if "SLURM_JOB_ID" not in os.environ:
        raise RunError(
            f"a run over {nodes} nodes needs a Slurm allocation",
            fix="run the workflow with --profile slurm, or this command inside salloc or sbatch",
        )
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
    word = state / _WORD
    word.unlink(missing_ok=True)
    launcher = os.getpid()
    status = subprocess.run(command, check=False, preexec_fn=lambda: end_with(launcher, signal.SIGTERM)).returncode
    if word.exists():
        told = word.read_text("utf-8")
        word.unlink()
        if not status:
            raise Interrupted(told, fix="nothing: it goes on when started again")
    if status:
        failure = RunError(f"a node's launcher ended with exit status {status}", fix="its message stands above")
        failure.exit_status = status if 0 < status < 128 else RunError.exit_status
        raise failure


def leave_word(state: Path, saved: Interrupted) -> None:
    """Tell the launcher of all nodes, from that of one, that the run was saved before its end.

    An exit status would not do: srun ends the others at once, which may not have come so far.

    Args:
        state: folder that all nodes see.
        saved: what a node's launcher found.
    """
    with publish_file(state / _WORD) as scratch:
        scratch.write_text(saved.what, "utf-8")


def node_of_step(nodes: int) -> Node:
    """Return which node of the step this process is on.

    Raises:
        RunError: srun did not start this process on that many nodes.
    """
    names = ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_NNODES", "SLURM_STEP_NODELIST")
    missing = [name for name in names if name not in os.environ]
    if missing or int(os.environ["SLURM_NNODES"]) != nodes:
        raise RunError(
            f"not started by srun on {nodes} nodes: {', '.join(missing) or os.environ['SLURM_NNODES']}",
            fix="start launch.py without --member inside the allocation; it calls srun itself",
        )
    hosts = _scontrol("show", "hostnames", os.environ["SLURM_STEP_NODELIST"]).split()
    index, job = int(os.environ["SLURM_PROCID"]), os.environ["SLURM_JOB_ID"]
    port = _FIRST_PORT + int(job) % _PORTS
    return Node(index, nodes, _address(hosts[0]), _address(hosts[index]), port, job)


def _address(host: str) -> str:
    """Return the address by which Slurm itself reaches a node, which need not be what its name resolves to."""
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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_ranks(command: Sequence[str], ranks: int, cpus: int | None = None, node: Node | None = None) -> None:
    """Run a Python script on `ranks` processes of this machine and wait for all of them.

    On one node the rendezvous takes a free port of its own, so runs side by side do not meet.

    Args:
        command: path of the script and its arguments.
        ranks: number of processes on this machine.
        cpus: cores of this machine that they share; None: all that this process may use.
        node: of a run over several nodes, which one this is.

    Raises:
        RunError: a rank failed; the message is that of the first to fail, the exit status is its own.
        Interrupted: the ranks wrote a checkpoint and ended because the job was about to.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    nodes = node.count if node else 1
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=ranks,
        run_id=f"dnatune-{node.job if node else os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{node.address}:{node.port}" if node else "localhost:0",
        # A node whose file system is slow to give it torch comes minutes after the others.
        rdzv_configs={"is_host": node.index == 0, "read_timeout": _MEETING_SECONDS} if node else {},
        local_addr=node.own_address if node else None,
        max_restarts=0,
        monitor_interval=0.1,
        shutdown_timeout=10,
    )
    # Snakemake sets these to the cores of the whole job, for each of its processes.
    threads = str(max(1, (cpus or _cores()) // ranks))
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads))
    for name, value in _MEMORY.items():
        os.environ.setdefault(name, value)
    os.environ["DNATUNE_WORLD_SIZE"] = str(nodes * ranks)
    os.environ[LAUNCHER] = str(os.getpid())
    with tempfile.TemporaryDirectory(prefix="dnatune-") as folder:
        os.environ[INTERRUPTED_FILE] = status = str(Path(folder) / "interrupted")
        try:
            elastic_launch(config, sys.executable)(*command)
        except RendezvousError as error:
            raise RunError(
                f"the ranks of {nodes} nodes have not met: {error}",
                where=config.rdzv_endpoint,
                fix="see that all nodes started and reach this address and port: it is the node's NodeAddr"
                f" (`scontrol show node`), and no firewall may close ports {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}",
            ) from None
        except ChildFailedError as error:
            index, failure = error.get_first_failure()
            raise _explain(index, failure.exitcode, failure.message) from None
        except SignalException as ended:
            raise RunError(
                f"told to end by signal {ended.sigval}, and its ranks with it",
                fix="nothing is lost that a checkpoint holds: start it again",
            ) from None
        finally:
            # Whatever this process starts later is no rank.
            del os.environ[LAUNCHER]
        if Path(status).exists():
            raise Interrupted(
                f"the job was about to end; the run is saved at step {Path(status).read_text('utf-8')}",
                fix="nothing: a job that is started again goes on from there",
            )


def requeue() -> None:
    """Put this Slurm job back into the queue, where it waits to go on; return only if the cluster does not allow that.

    A job that continues so is still the same to Snakemake. A controller that is busy or just changing over is asked
    again; what it says is logged.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    command = ["scontrol", "requeue", job]
    for attempt in range(_REQUEUE_TRIES):
        if attempt:
            time.sleep(_REQUEUE_PAUSE)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
        except OSError as error:
            _LOG.warning("`%s` cannot be started: %s", " ".join(command), error)
            return
        except subprocess.TimeoutExpired:
            _LOG.warning("`%s` has not answered for %s s", " ".join(command), _ANSWER_SECONDS)
            continue
        if done.returncode == 0:
            # Slurm ends this process along with the job's others.
            time.sleep(_REQUEUE_SECONDS)
            return
        said = done.stderr.strip() or f"nothing, with exit status {done.returncode}"
        _LOG.warning("`%s` says: %s", " ".join(command), said)


def _explain(rank: int, exit_code: int, message: str) -> DnatuneError:
    if message.startswith("dnatune: "):
        _, name, text = message.split(": ", 2)
        explained = getattr(errors, name, RunError)(text)
    elif exit_code < 0:
        explained = RunError(
            f"rank {rank} was ended by signal {-exit_code}",
            fix="signal 9 is often the system's answer to too little memory: lower training.micro_batch_size",
        )
    else:
        explained = RunError(f"rank {rank} ended with exit status {exit_code}", fix="its last lines stand above")
    explained.exit_status = exit_code if 0 < exit_code < 128 else RunError.exit_status
    return explained
