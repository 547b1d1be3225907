"""Start a script on several ranks of this machine, or of all nodes of a Slurm allocation.

By hand:  python -m dnatune launch --ranks 2 finetune --help
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from dnatune.cli import STAGES
from dnatune.commands import count, stage_parser
from dnatune.errors import DnatuneError, Interrupted


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
    # Slurm tells every process of a step that its time is nearly over. Ranks act on it, launchers wait for them.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s launcher %(message)s", stream=sys.stderr)

    from dnatune.launch import launcher, run_lock, slurm

    # A stage by its name, or any script by its path.
    stage = options.script in STAGES
    command = [*(("-m", "dnatune") if stage else ()), options.script, *options.arguments]
    if options.member:
        try:
            launcher.start_ranks(command, options.ranks, options.cpus, launcher.node_of_step(options.nodes))
        except DnatuneError as failure:
            launcher.leave_outcome(options.state, failure)
            sys.exit(0 if isinstance(failure, Interrupted) else failure.exit_status)
        return
    try:
        with run_lock.held(options.state, _patience()) if options.state else contextlib.nullcontext():
            if options.nodes == 1:
                launcher.start_ranks(command, options.ranks, options.cpus)
            else:
                if options.state is None:
                    parser.error("several nodes need --state")
                cpus = options.cpus or options.ranks
                counts = {"--nodes": options.nodes, "--ranks": options.ranks, "--cpus": cpus}
                own = [word for name, count in counts.items() for word in (name, str(count))]
                arguments = [
                    "-m",
                    "dnatune",
                    "launch",
                    *own,
                    "--state",
                    str(options.state),
                    "--member",
                    options.script,
                    *options.arguments,
                ]
                launcher.start_nodes(arguments, options.nodes, cpus, options.state)
    except Interrupted as saved:
        if refusal := slurm.requeue():
            raise Interrupted(f"{saved.what}; it was not requeued: {refusal}", fix=saved.fix, step=saved.step) from None
        raise


def _patience() -> float:
    """Return the seconds to wait for another writer: a job has come a long way, a person is told at once."""
    return 24 * 3600 if "SLURM_JOB_ID" in os.environ else 0
