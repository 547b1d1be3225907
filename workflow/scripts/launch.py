#!/usr/bin/env python
"""Start a script on several ranks of this machine, or of all nodes of a Slurm allocation.

By hand:  python workflow/scripts/launch.py --ranks 2 finetune --help
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from dnatune.errors import Interrupted, run_script


def main() -> None:
    """Parse the command line and start the ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=_count, required=True, help="number of processes on each machine")
    parser.add_argument("--nodes", type=_count, default=1, help="number of machines; more than one needs Slurm")
    parser.add_argument("--cpus", type=_count, help="cores of each machine, which its processes share")
    parser.add_argument(
        "--state", type=Path, help="folder of the run, seen by all nodes, which one writer at a time may have"
    )
    parser.add_argument("--member", action="store_true", help="one of several launchers that srun has started")
    parser.add_argument("script", help="Python script to run on each rank: a path, or the name of one beside this file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args()
    # Slurm tells every process of a step that its time is nearly over. Ranks act on it, launchers wait for them.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s launcher %(message)s", stream=sys.stderr)

    from dnatune import launching, runlock

    here = Path(__file__).resolve()
    sibling = here.parent / f"{options.script}.py"
    command = [str(sibling) if sibling.is_file() else options.script, *options.arguments]
    if options.member:
        node = launching.node_of_step(options.nodes)
        try:
            launching.start_ranks(command, options.ranks, options.cpus, node)
        except Interrupted as saved:
            launching.leave_outcome(options.state, saved)
        return
    try:
        with runlock.held(options.state, _patience()) if options.state else contextlib.nullcontext():
            if options.nodes == 1:
                launching.start_ranks(command, options.ranks, options.cpus)
            else:
                if options.state is None:
                    parser.error("several nodes need --state")
                cpus = options.cpus or options.ranks
                counts = {"--nodes": options.nodes, "--ranks": options.ranks, "--cpus": cpus}
                own = [word for name, count in counts.items() for word in (name, str(count))]
                arguments = [str(here), *own, "--state", str(options.state), "--member", *command]
                launching.start_nodes(arguments, options.nodes, cpus, options.state)
    except Interrupted:
        launching.requeue()
        raise


def _count(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is no whole number of 1 or more")
    return int(text)


def _patience() -> float:
    """Return the seconds to wait for another writer: a job has come a long way, a person is told at once."""
    return 24 * 3600 if "SLURM_JOB_ID" in os.environ else 0


if __name__ == "__main__":
    run_script(main)
