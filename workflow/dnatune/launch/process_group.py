"""Inside a rank: which one it is, on which device, how it meets the others, and what ranks tell each other.

Nothing that another process could have written is unpickled. Ranks exchange tensors; texts travel as JSON in tensors of
bytes.
"""

import contextlib
import ctypes
import dataclasses
import datetime
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from dnatune import outcomes
from dnatune.errors import Interrupted, RunError

#: Environment variable with the path of the file by which the ranks of one machine meet.
MEETING_FILE = "DNATUNE_MEETING_FILE"
#: Environment variables with `address:port` of the store by which the ranks of several nodes meet, and with a prefix of
#: its keys that only they know.
MEETING_ADDRESS, MEETING_SECRET = "DNATUNE_MEETING_ADDRESS", "DNATUNE_MEETING_SECRET"
#: How long ranks wait for each other at the start. A node with a slow file system needs minutes to load torch.
_MEETING_SECONDS = 600
#: Option of Linux' prctl: the signal that a process gets when the one that started it ends (linux/prctl.h).
_DEATH_SIGNAL = 1
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclasses.dataclass(frozen=True)
class Rank:
    """One process of a run.

    Attributes:
        index: global rank, from 0.
        world: number of ranks.
        device: torch device name, `cpu` or `cuda:<local rank>`.
    """

    index: int
    world: int
    device: str

    @property
    def first(self) -> bool:
        """Tell whether this is the rank that writes."""
        return self.index == 0


def report_interruption(step: int) -> None:
    """Tell the launcher, from a rank, that the run was saved at a step before its end.

    The rank then exits with status 0, because its launcher ends the others as soon as one of them fails.
    """
    outcomes.leave_for_launcher(
        Interrupted(
            f"the job was about to end; the run is saved at step {step}",
            fix="nothing: a job that is started again goes on from there",
            step=step,
        )
    )


def die_with_parent(parent: int, number: int) -> None:
    """Have the kernel send this process a signal when its parent ends, be it by one that nobody can act on.

    The run's lock counts as free then, and nothing else would end what the parent has started. Linux only. The signal
    follows the thread that started this process; for ranks and srun that is the launcher's main one.

    Args:
        parent: process number of the parent, which may have ended already.
        number: the signal.
    """
    if _PRCTL is None:
        return
    _PRCTL(_DEATH_SIGNAL, ctypes.c_ulong(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def devices(rank: Rank) -> list[str]:
    """Return `node:number` of the device that the system handed to each rank; where it hands out none, `node:cpu`.

    All ranks call this together. The number is the scheduler's, which `CUDA_VISIBLE_DEVICES` holds.
    """
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    local = int(os.environ["LOCAL_RANK"])
    numbers = list(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    own = numbers[local] if local < len(numbers) else "cpu" if rank.device == "cpu" else str(local)
    return exchange(f"{node}:{own}", rank)


def join(timeout_seconds: int) -> Rank:
    """Join the process group of the launcher's ranks, with DeepSpeed on top of it, and return this process's rank.

    Args:
        timeout_seconds: how long a rank waits for the others in one collective operation.

    Raises:
        RunError: the process was not started by the launcher, or the ranks have not met.
    """
    if not outcomes.launched():
        raise RunError(
            "not started as a rank by dnatune's launcher",
            fix="start it as `python -m dnatune launch --ranks N finetune …`",
        )
    on_gpu = sees_gpu()
    deepspeed = import_deepspeed(on_gpu)
    rank = _own_rank()
    backend = "nccl" if on_gpu else "gloo"
    timeout = datetime.timedelta(seconds=timeout_seconds)
    _meet(rank, backend, timeout)
    deepspeed.init_distributed(dist_backend=backend, timeout=timeout, verbose=False)
    return rank


def import_deepspeed(on_gpu: bool) -> Any:
    """Return DeepSpeed.

    Its compiled shared-memory collective is left out: it needs a compiler, certain processors and one common memory,
    and gloo serves without it.

    Args:
        on_gpu: whether this process computes on a GPU.
    """
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
        # DeepSpeed decorates Muon's update, for which it would import PyTorch's compiler at every start: 0.8 s.
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}
    return deepspeed


def join_scorers() -> Rank:
    """Return this process's place among those that score one test set together; alone where no launcher started it.

    They exchange results alone, so gloo serves on GPUs too.

    Raises:
        RunError: the ranks have not met.
    """
    rank = _own_rank()
    if rank.world > 1:
        # One may be done long before another; whoever dies ends the others by the launcher.
        _meet(rank, "gloo", datetime.timedelta(days=7))
    return rank


def is_first() -> bool:
    """Tell whether this process is the one that writes, before it joins the others."""
    return not outcomes.launched() or os.environ["RANK"] == "0"


def _own_rank() -> Rank:
    """Return this process's rank; what another launcher has set in the environment does not count."""
    if not outcomes.launched():
        return Rank(0, 1, _own_device(0))
    index, world, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Rank(index, world, _own_device(local))


def _meet(rank: Rank, backend: str, timeout: datetime.timedelta) -> None:
    """Make torch's default process group.

    The ranks of one machine meet by a file that only its user can read, and talk over the loopback interface (the
    launcher sets it). Those of several nodes meet by a store of the first rank that listens at one address of its
    node. The store has no authentication, so nothing that is read from it may be unpickled.

    Raises:
        RunError: the ranks have not met.
    """
    import torch
    from torch import distributed

    _refuse_pickles()
    try:
        store = _file_store(rank) if MEETING_FILE in os.environ else _network_store(rank)
        store.set_timeout(datetime.timedelta(seconds=_MEETING_SECONDS))
        # DeepSpeed binds the ranks of nccl to their devices likewise (comm/torch.py).
        bound = {"device_id": torch.device(rank.device)} if backend == "nccl" and rank.world > 1 else {}
        distributed.init_process_group(
            backend, store=store, rank=rank.index, world_size=rank.world, timeout=timeout, **bound
        )
    except (distributed.DistError, OSError) as error:
        raise RunError(
            f"rank {rank.index} of {rank.world} has not met the others: {str(error).splitlines()[0]}",
            where=os.environ.get(MEETING_ADDRESS),
            fix="see that all nodes started and reach this address and port: it is the first node's NodeAddr "
            "(`scontrol show node`), and no firewall between the nodes may close it",
        ) from None


def _file_store(rank: Rank) -> Any:
    from torch.distributed import FileStore

    return FileStore(os.environ[MEETING_FILE], rank.world)


def _network_store(rank: Rank) -> Any:
    """Return the store of several nodes; the first rank serves it.

    torch itself would listen on every interface of the node, so the socket is bound here and handed over.
    """
    from torch.distributed import PrefixStore, TCPStore

    host, port = os.environ[MEETING_ADDRESS].rsplit(":", 1)
    family, *_, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    served: dict[str, Any] = {}
    if rank.first:
        listening = socket.create_server(address[:2], family=family, backlog=1024)
        served = {"is_master": True, "master_listen_fd": listening.detach()}
    wait = datetime.timedelta(seconds=_MEETING_SECONDS)
    store = TCPStore(address[0], int(port), rank.world, timeout=wait, **served)
    return PrefixStore(os.environ[MEETING_SECRET], store)


def _refuse_pickles() -> None:
    """Make torch's collective operations on Python objects raise, since they unpickle what other processes send."""
    from torch.distributed import distributed_c10d

    def refuse(*_: Any) -> Any:
        raise RunError("a library tried to unpickle what another process sent", fix="report this: it is a fault")

    if not hasattr(distributed_c10d, "_tensor_to_object"):
        raise RunError(
            "this torch has no torch.distributed.distributed_c10d._tensor_to_object, by which dnatune refuses pickles",
            fix="install the torch of envs/requirements.lock",
        )
    distributed_c10d._tensor_to_object = refuse


def exchange(value: Any, rank: Rank) -> list[Any]:
    """Return the JSON-like values of all ranks, by rank; all ranks call this together."""
    import torch
    from torch import distributed

    if rank.world == 1:
        return [value]
    device = torch.device(rank.device if distributed.get_backend() == "nccl" else "cpu")
    text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(rank.world)]
    distributed.all_gather(lengths, torch.tensor([len(text)], device=device))
    longest = int(max(lengths))
    own = torch.zeros(longest, dtype=torch.uint8, device=device)
    own[: len(text)] = text
    parts = [torch.empty_like(own) for _ in range(rank.world)]
    distributed.all_gather(parts, own)
    return [json.loads(bytes(part[: int(length)].cpu().numpy())) for part, length in zip(parts, lengths, strict=True)]


@contextlib.contextmanager
def first_rank_first(rank: Rank) -> Iterator[None]:
    """Let the first rank go through the body before the others; all ranks enter it together."""
    if not rank.first:
        exchange(None, rank)
    yield
    if rank.first:
        exchange(None, rank)


def first_says(value: Any, rank: Rank) -> Any:
    """Return the JSON-like value of the first rank, whatever the others give; all ranks call this together."""
    return exchange(value if rank.first else None, rank)[0]


def all_ranks_agree(answer: bool, rank: Rank) -> bool:
    """Return whether every rank says yes; all call this together."""
    import torch
    from torch import distributed

    least = torch.tensor(int(answer), device=rank.device)
    distributed.all_reduce(least, op=distributed.ReduceOp.MIN)
    return bool(least)


def own_indices(count: int, batch_size: int, rank: Rank) -> list[int]:
    """Return which of `count` items are this rank's: whole batches by turns, the batches that one rank alone has."""
    first, step = rank.index * batch_size, rank.world * batch_size
    return [item for start in range(first, count, step) for item in range(start, min(start + batch_size, count))]


def gather(indices: Sequence[int], results: Sequence[Any], rank: Rank) -> list[Any] | None:
    """Return all ranks' results in the order of their indices on the first rank, None on the others.

    Results are JSON-like values, arrays, or tuples of these. All ranks call this together, and part then.
    """
    parts = exchange(list(zip(indices, map(_without_arrays, results), strict=True)), rank)
    part(rank)
    if not rank.first:
        return None
    return [result for _, result in sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])]


def part(rank: Rank) -> None:
    """Wait until all ranks have come here, and leave the group of those that scored together."""
    if rank.world > 1:
        from torch import distributed

        distributed.barrier()
        distributed.destroy_process_group()


def _without_arrays(result: Any) -> Any:
    if isinstance(result, tuple):
        return [_without_arrays(part) for part in result]
    return result.tolist() if hasattr(result, "tolist") else result


def sees_gpu() -> bool:
    """Return whether this process computes on a GPU.

    Raises:
        RunError: it was given one that torch cannot use, and DNATUNE_DEVICE does not say `cpu`.
    """
    import torch

    if os.environ.get("DNATUNE_DEVICE") == "cpu":
        return False
    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not torch.cuda.is_available() and any(part.strip() not in ("", "-1") for part in given.split(",")):
        raise RunError(
            f"this job was given the GPUs {given}, and torch {torch.__version__} cannot use them",
            where="environment variable CUDA_VISIBLE_DEVICES",
            fix="make setup TORCH_INDEX=… with the builds for this driver, or DNATUNE_DEVICE=cpu to do without GPUs",
        )
    return torch.cuda.is_available()


def _own_device(local: int) -> str:
    """Return the torch device of the process with this number on its machine, and make it the one that torch uses."""
    import torch

    if not sees_gpu():
        return "cpu"
    if local >= torch.cuda.device_count():
        raise RunError(
            f"rank {local} of this machine has no GPU: {torch.cuda.device_count()} visible",
            fix="ask for at most as many ranks as there are GPUs",
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"
