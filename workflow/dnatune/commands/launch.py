"""Start a script on several ranks of this machine, or of all nodes of a Slurm allocation.

By hand:  python -m dnatune launch --ranks 2 finetune --help
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.cli import STAGES
from dnatune.commands import count, stage_parser
from dnatune.errors import DnatuneError, Interrupted

if TYPE_CHECKING:
    from dnatune.launch import launcher


def main() -> None:
    """Parse the command line and start the ranks."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--ranks", type=count, required=True, help="number of processes on each machine")
    parser.add_argument("--nodes", type=count, default=1, help="number of machines; more than one needs Slurm")
    parser.add_argument("--cpus", type=count, help="cores of each machine, which its processes share")
    parser.add_argument(
        "--state", type=Path, help="folder of the run, seen by all nodes, which one writer at a time may have"
    )
    parser.add_argument("--member", action="store_true", help="one of several launchers that srun has started")
    parser.add_argument("script", help="what to run on each rank: a stage, or the path of a Python script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args()
    prepare()
    if options.member:
        from dnatune.launch import launcher

        command = _command([options.script, *options.arguments])
        try:
            launcher.start_ranks(command, options.ranks, options.cpus, launcher.node_of_step(options.nodes))
        except DnatuneError as failure:
            launcher.leave_outcome(options.state, failure)
            sys.exit(0 if isinstance(failure, Interrupted) else failure.exit_status)
        return
    if options.nodes > 1 and options.state is None:
        parser.error("several nodes need --state")
    run([options.script, *options.arguments], options.ranks, options.nodes, options.cpus, options.state)


def prepare() -> None:
    """Make this process one that starts ranks and waits for them."""
    # Slurm tells every process of a step that its time is nearly over. Ranks act on it, launchers wait for them.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s launcher %(message)s", stream=sys.stderr)


def run(
    words: Sequence[str],
    ranks: int,
    nodes: int = 1,
    cpus: int | None = None,
    state: Path | None = None,
    start: "launcher.Start | None" = None,
) -> None:
    """Run a stage, or a script, on several ranks, and wait for them. A run that was saved early puts its job back.

    Args:
        words: the stage or the path of the script, and its arguments.
        ranks: number of processes on each machine.
        nodes: number of machines.
        cpus: cores of each machine, which its processes share; None: all that there are, or of each of several
            machines as many as ranks.
        state: folder that one writer at a time may have; of several nodes all see it.
        start: starts a rank of a run on one machine; None: as a process of its own.

    Raises:
        DnatuneError: a rank failed.
        Interrupted: the run was saved because the job was about to end.
    """
    from dnatune.launch import launcher, run_lock, slurm

    try:
        with run_lock.held(state, _patience()) if state else contextlib.nullcontext():
            if nodes == 1:
                launcher.start_ranks(_command(words), ranks, cpus, start=start)
            else:
                counts = {"--nodes": nodes, "--ranks": ranks, "--cpus": cpus or ranks}
                own = [word for name, count in counts.items() for word in (name, str(count))]
                member = ["-m", "dnatune", "launch", *own, "--state", str(state), "--member", *words]
                launcher.start_nodes(member, nodes, cpus or ranks, state)
    except Interrupted as saved:
        if refusal := slurm.requeue():
            raise Interrupted(f"{saved.what}; it was not requeued: {refusal}", fix=saved.fix, step=saved.step) from None
        raise


def _command(words: Sequence[str]) -> list[str]:
    """Return what the interpreter runs for a stage by its name, or a script by its path."""
    return [*(("-m", "dnatune") if words[0] in STAGES else ()), *words]


def _patience() -> float:
    """Return the seconds to wait for another writer: a job has come a long way, a person is told at once."""
    return 24 * 3600 if "SLURM_JOB_ID" in os.environ else 0
