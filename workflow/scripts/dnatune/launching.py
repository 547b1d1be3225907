"""How ranks meet: start them, wait for them, tell what broke; and, inside a rank, join the others."""

import dataclasses
import datetime
import os
import sys
from collections.abc import Sequence

from dnatune import errors
from dnatune.errors import DnatuneError, RunError


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


def start_ranks(command: Sequence[str], ranks: int) -> None:
    """Run a Python script on `ranks` processes of this machine and wait for all of them.

    The rendezvous takes a free port of its own, so runs side by side do not meet.

    Args:
        command: path of the script and its arguments.
        ranks: number of processes.

    Raises:
        RunError: a rank failed; the message is that of the first to fail, the exit status is its own.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"dnatune-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        shutdown_timeout=10,
    )
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // ranks)))
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        index, failure = error.get_first_failure()
        raise _explain(index, failure.exitcode, failure.message) from None


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


def join(timeout_seconds: int) -> Rank:
    """Join the process group that the launcher's environment describes and return this process's rank.

    DeepSpeed's compiled shared-memory collective is left out: it needs a compiler, certain processors and one common
    memory, and gloo serves without it.

    Raises:
        RunError: the process was not started by the launcher.
    """
    missing = [name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR") if name not in os.environ]
    if missing:
        raise RunError(
            f"not started as a rank: {', '.join(missing)} not set",
            fix="start it as `python workflow/scripts/launch.py --ranks N finetune …`",
        )
    import torch

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__ = {}
    local = int(os.environ["LOCAL_RANK"])
    device = "cpu"
    if on_gpu:
        if local >= torch.cuda.device_count():
            raise RunError(
                f"rank {local} of this machine has no GPU: {torch.cuda.device_count()} visible",
                fix="ask for at most as many ranks as there are GPUs",
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    deepspeed.init_distributed(
        dist_backend="nccl" if on_gpu else "gloo",
        timeout=datetime.timedelta(seconds=timeout_seconds),
        verbose=False,
    )
    return Rank(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), device)
