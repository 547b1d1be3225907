"""How ranks meet: start them, on this machine or on the nodes of a Slurm job, wait for them, tell what broke."""

import contextlib
import dataclasses
import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from dnatune import outcomes
from dnatune.errors import DnatuneError, Interrupted, RunError
from dnatune.launch import slurm
from dnatune.launch.forks import Fork
from dnatune.launch.process_group import MEETING_ADDRESS, MEETING_FILE, MEETING_SECRET, die_with_parent
from dnatune.provenance import usable_cores

_LOG = logging.getLogger(__name__)
#: File by which the launcher of one node tells that of all how it ended.
_OUTCOME = "outcome.json"
#: Ports of rendezvous over several nodes, below those that systems hand out by themselves.
_FIRST_PORT, _PORTS = 12000, 18000
#: Name of the loopback interface.
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
#: How often the launcher looks after its ranks, how long they may take to save when it is told to end, and to end.
_POLL_SECONDS, _SAVE_SECONDS, _END_SECONDS = 0.1, 40, 10
#: glibc gives large blocks back to the system when they are freed, and takes them again, zeroed page by page, for the
#: next step's logits and gradients. A rank keeps what it has had.
_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
#: The process of a rank, and what starts one: it is given what the interpreter runs, and the environment that it has
#: beside the launcher's.
RankProcess = subprocess.Popen | Fork
Start = Callable[[Sequence[str], Mapping[str, str]], RankProcess]


@dataclasses.dataclass(frozen=True)
class Node:
    """One node of a run that has several, as Slurm describes it to the launcher there.

    Attributes:
        index: from 0; node 0 has the rendezvous.
        count: number of nodes.
        address: of node 0.
        port: of the rendezvous; it follows from the job, so that jobs side by side do not meet.
        job: Slurm's number.
    """

    index: int
    count: int
    address: str
    port: int
    job: str


def start_nodes(arguments: Sequence[str], nodes: int, cpus: int, state: Path) -> None:
    """Start this launcher once on each node of the allocation, by srun, and wait for all of them.

    The Slurm plugin runs a job of several nodes outside any step, so that `srun` can spread it. One launcher that
    fails ends the others.

    Args:
        arguments: the command line of `python -m dnatune launch` for one node, from `-m` on.
        nodes: number of nodes.
        cpus: cores of each node.
        state: folder that all nodes see; each node's launcher leaves its outcome there.

    Raises:
        RunError: not inside an allocation, or told to end, or a launcher failed; its exit status is that of the
            launcher.
        Interrupted: the ranks wrote a checkpoint and ended because the job was about to.
    """
    if "SLURM_JOB_ID" not in os.environ:
        raise RunError(
            f"a run over {nodes} nodes needs a Slurm allocation",
            fix="run the workflow with --profile slurm, or this command inside salloc or sbatch",
        )
    outcome = state / _OUTCOME
    outcome.unlink(missing_ok=True)
    # Slurm hands the environment to the nodes, and shows it to nobody else.
    os.environ[MEETING_SECRET] = secrets.token_hex()
    with _signals() as received:
        srun = slurm.start_on_each_node(arguments, nodes, cpus)
        try:
            _wait([srun], received)
            if received:
                _let_save([srun], signal.SIGUSR1)
        finally:
            status = srun.poll()
            srun.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                srun.wait(_END_SECONDS)
    told = outcomes.read(outcome)
    outcome.unlink(missing_ok=True)
    if received:
        raise _told_to_end(received[0], [told])
    if told and (status or isinstance(told[0], Interrupted)):
        raise told[0]
    if status:
        failure = RunError(f"a node's launcher ended with exit status {status}", fix="read the last lines of the log")
        failure.exit_status = status if 0 < status < 128 else RunError.exit_status
        raise failure


def leave_outcome(state: Path, failure: DnatuneError) -> None:
    """Tell the launcher of all nodes, from that of one, how the ranks there ended; the first failure is kept.

    An exit status would not do for a saved run: srun ends the other launchers at once, and they may still be saving.

    Args:
        state: folder that all nodes see.
        failure: what the node's launcher found.
    """
    told = outcomes.read(state / _OUTCOME)
    if told is None or isinstance(told[0], Interrupted):
        outcomes.write(state / _OUTCOME, failure)


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
            fix="start `python -m dnatune launch` without --member inside the allocation; it calls srun itself",
        )
    hosts = slurm.hostnames(os.environ["SLURM_STEP_NODELIST"])
    index, job = int(os.environ["SLURM_PROCID"]), os.environ["SLURM_JOB_ID"]
    port = _FIRST_PORT + int(job) % _PORTS
    return Node(index, nodes, slurm.node_address(hosts[0]), port, job)


def start_ranks(
    command: Sequence[str],
    ranks: int,
    cpus: int | None = None,
    node: Node | None = None,
    start: Start | None = None,
) -> None:
    """Run a Python script on `ranks` processes of this machine and wait for all of them.

    On one machine the ranks meet by a file that nobody else can read and talk over the loopback interface, so nothing
    listens to another machine. Over several nodes the first rank listens at the address of its node.

    Args:
        command: what the interpreter runs: the path of a script, or `-m` and a module, and its arguments.
        ranks: number of processes on this machine.
        cpus: cores of this machine that they share; None: all that this process may use.
        node: of a run over several nodes, which one this is.
        start: starts a rank; None: `start_process`.

    Raises:
        RunError: a rank failed, or this process was told to end; the message is that of the first to fail, the exit
            status is its own.
        Interrupted: the ranks wrote a checkpoint and ended because the job was about to.
    """
    start = start or start_process
    # Only its owner may enter a folder that mkdtemp has made.
    with tempfile.TemporaryDirectory(prefix="dnatune-") as name:
        folder = Path(name)
        shared = {**share_of_cores(ranks, cpus), **_meeting(folder, ranks, node)}
        first = node.index * ranks if node else 0
        told = [folder / f"rank{first + local}.json" for local in range(ranks)]
        with _signals() as received:
            processes = []
            try:
                for local in range(ranks):
                    own = {"RANK": first + local, "LOCAL_RANK": local, outcomes.OUTCOME_FILE: told[local]}
                    processes.append(start(command, {**shared, **{key: str(value) for key, value in own.items()}}))
                _wait(processes, received)
                if received:
                    _let_save(processes)
            finally:
                codes = [process.poll() for process in processes]
                _end(processes)
        if received:
            raise _told_to_end(received[0], map(outcomes.read, told))
        _raise_first([(first + local, codes[local], outcomes.read(told[local])) for local in range(ranks)])


def share_of_cores(ranks: int, cpus: int | None = None) -> dict[str, str]:
    """Return the environment by which a rank has its share of the cores, of which Snakemake gives each process all.

    Args:
        ranks: number of processes on this machine.
        cpus: cores of this machine that they share; None: all that this process may use.
    """
    each = (cpus or usable_cores()) // ranks
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(max(1, each)))
    return {**{name: os.environ.get(name, value) for name, value in _MEMORY.items()}, **counts}


def _meeting(folder: Path, ranks: int, node: Node | None) -> dict[str, str]:
    """Return the environment by which ranks find each other."""
    world = {"WORLD_SIZE": str(ranks * (node.count if node else 1)), outcomes.LAUNCHER: str(os.getpid())}
    if node is None:
        loopback = {"GLOO_SOCKET_IFNAME": _LOOPBACK, "NCCL_SOCKET_IFNAME": f"={_LOOPBACK}"}
        return {**world, **loopback, MEETING_FILE: str(folder / "meeting")}
    return {**world, MEETING_ADDRESS: f"{node.address}:{node.port}"}


def start_process(command: Sequence[str], own: Mapping[str, str]) -> subprocess.Popen:
    """Start a rank in a session of its own, so that what it has started can be ended with it."""
    launcher = os.getpid()
    environment = {name: value for name, value in os.environ.items() if name != MEETING_FILE}
    return subprocess.Popen(
        [sys.executable, *command],
        env={**environment, **own},
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(launcher, signal.SIGKILL),
    )


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield the list that the signals go to by which this process is asked to end."""
    received: list[int] = []
    asked = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in asked}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[RankProcess], received: Sequence[int]) -> None:
    """Return when all processes have ended, one has failed, or this one was asked to end."""
    while not received:
        codes = [process.poll() for process in processes]
        if None not in codes or any(codes):
            return
        time.sleep(_POLL_SECONDS)


def _let_save(processes: Sequence[RankProcess], number: int = signal.SIGTERM) -> None:
    """Tell ranks to end; those that train save a checkpoint after their step, and others end at once."""
    for process in processes:
        process.send_signal(number)
    deadline = time.monotonic() + _SAVE_SECONDS
    while None in [process.poll() for process in processes] and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _end(processes: Sequence[RankProcess]) -> None:
    """End processes and whatever they have started; those that have lost another wait for it and cannot save."""
    for process in processes:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + _END_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))


def _told_to_end(number: int, told: Iterable[tuple[DnatuneError, float] | None]) -> RunError:
    """Return the error of ranks that were told to end; their outcomes say at which step they have saved."""
    saved = next((each[0].step for each in told if each and isinstance(each[0], Interrupted)), None)
    failure = RunError(
        f"told to end by signal {number}, and its ranks with it"
        + (f"; the run is saved at step {saved}" if saved is not None else ""),
        fix="nothing is lost that a checkpoint holds: start it again",
    )
    failure.ends_job = True
    return failure


def _raise_first(ended: Sequence[tuple[int, int | None, tuple[DnatuneError, float] | None]]) -> None:
    """Raise the failure that came first, or the interruption; return where all ranks have done their work.

    A rank that tells its failure is believed before one that a signal ended, and that before one that merely stopped,
    as ranks do that have lost another.

    Args:
        ended: rank, exit status (None: it was still running) and outcome of each.
    """
    # A rank that has told its failure may still have been ending when a peer that had lost it was found.
    failed = [each for each in ended if each[1] or (each[2] and not isinstance(each[2][0], Interrupted))]
    if failed:
        rank, code, told = min(failed, key=lambda each: (each[2] is None, each[2][1] if each[2] else each[1] > 0))
        raise told[0] if told else _explain(rank, code)
    saved = [told[0] for _, _, told in ended if told]
    if saved:
        raise saved[0]


def _explain(rank: int, code: int) -> RunError:
    if code < 0:
        return RunError(
            f"rank {rank} was ended by signal {-code}",
            fix="signal 9 is often the system's answer to too little memory: lower training.micro_batch_size",
        )
    failure = RunError(f"rank {rank} ended with exit status {code}", fix="read the last lines of the log")
    failure.exit_status = code
    return failure
