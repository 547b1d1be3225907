"""Inside a rank: which one it is, on which device, and what ranks tell each other and their launcher."""

import ctypes
import dataclasses
import datetime
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnatune.errors import RunError

#: Environment variable that names the file in which ranks tell their launcher that they were interrupted.
INTERRUPTED_FILE = "DNATUNE_INTERRUPTED_FILE"
#: Environment variable with the process number of a rank's launcher.
LAUNCHER = "DNATUNE_LAUNCHER"
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
    """Tell the launcher, from a rank, that the run was saved before its end.

    An exit status would not do: torchrun turns those of its ranks into its own.
    """
    if INTERRUPTED_FILE in os.environ:
        Path(os.environ[INTERRUPTED_FILE]).write_text(str(step), "utf-8")


def end_with(parent: int, number: int) -> None:
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


def _end_with_launcher() -> None:
    """End this process with its launcher; nothing where no launcher started it."""
    if os.environ.get(LAUNCHER):
        end_with(int(os.environ[LAUNCHER]), signal.SIGKILL)


def devices(rank: Rank) -> list[str]:
    """Return `node:number` of the device that the system handed to each rank; where it hands out none, `node:cpu`.

    All ranks call this together. The number is the scheduler's, which `CUDA_VISIBLE_DEVICES` holds.
    """
    from torch import distributed

    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    local = int(os.environ["LOCAL_RANK"])
    numbers = list(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))
    own = numbers[local] if local < len(numbers) else "cpu" if rank.device == "cpu" else str(local)
    found: list[str] = [""] * rank.world
    distributed.all_gather_object(found, f"{node}:{own}")
    return found


def join(timeout_seconds: int) -> Rank:
    """Join the process group that the launcher's environment describes and return this process's rank.

    DeepSpeed's compiled shared-memory collective is left out: it needs a compiler, certain processors and one common
    memory, and gloo serves without it.

    Raises:
        RunError: the process was not started by the launcher.
    """
    _end_with_launcher()
    missing = [name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]
    if missing:
        raise RunError(
            f"not started as a rank: {', '.join(missing)} not set",
            fix="start it as `python workflow/scripts/launch.py --ranks N finetune …`",
        )
    expected = os.environ.get("DNATUNE_WORLD_SIZE", os.environ["WORLD_SIZE"])
    if os.environ["WORLD_SIZE"] != expected:
        raise RunError(
            f"{os.environ['WORLD_SIZE']} ranks have met, and {expected} were to",
            fix="see whether another job uses the same rendezvous",
        )
    on_gpu = sees_gpu()
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}
    device = _own_device()
    deepspeed.init_distributed(
        dist_backend="nccl" if on_gpu else "gloo",
        timeout=datetime.timedelta(seconds=timeout_seconds),
        verbose=False,
    )
    return Rank(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), device)


def join_scorers() -> Rank:
    """Return this process's place among those that score one test set together; alone where no launcher started it.

    They exchange results alone, so gloo serves on GPUs too.
    """
    _end_with_launcher()
    rank = Rank(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)), _own_device())
    if rank.world > 1:
        from torch import distributed

        # One may be done long before another; whoever dies ends the others by the launcher.
        distributed.init_process_group("gloo", timeout=datetime.timedelta(days=7))
    return rank


def all_say(answer: bool, rank: Rank) -> bool:
    """Return whether every rank says yes; all call this together."""
    import torch
    from torch import distributed

    least = torch.tensor(int(answer), device=rank.device)
    distributed.all_reduce(least, op=distributed.ReduceOp.MIN)
    return bool(least)


def share(count: int, batch_size: int, rank: Rank) -> list[int]:
    """Return which of `count` items are this rank's: whole batches by turns, the batches that one rank alone has."""
    first, step = rank.index * batch_size, rank.world * batch_size
    return [item for start in range(first, count, step) for item in range(start, min(start + batch_size, count))]


def gather(indices: Sequence[int], results: Sequence[Any], rank: Rank) -> list[Any] | None:
    """Return all ranks' results in the order of their indices on the first rank, None on the others.

    All ranks call this together, and part then.
    """
    own = list(zip(indices, results, strict=True))
    if rank.world == 1:
        return [result for _, result in own]
    from torch import distributed

    parts: list[Any] | None = [None] * rank.world if rank.first else None
    distributed.gather_object(own, parts)
    distributed.barrier()
    distributed.destroy_process_group()
    if parts is None:
        return None
    return [result for _, result in sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])]


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


def _own_device() -> str:
    """Return the torch device of this process, and make it the one that torch uses."""
    import torch

    if not sees_gpu():
        return "cpu"
    local = int(os.environ.get("LOCAL_RANK", 0))
    if local >= torch.cuda.device_count():
        raise RunError(
            f"rank {local} of this machine has no GPU: {torch.cuda.device_count()} visible",
            fix="ask for at most as many ranks as there are GPUs",
        )
    torch.cuda.set_device(local)
    return f"cuda:{local}"
