#!/usr/bin/env python
"""Start a script on several ranks of this machine.

By hand:  python workflow/scripts/launch.py --ranks 2 finetune --help
"""

import argparse
from pathlib import Path

from dnatune.errors import run_script


def main() -> None:
    """Parse the command line and start the ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, required=True, help="number of processes on this machine")
    parser.add_argument("script", help="Python script to run on each rank: a path, or the name of one beside this file")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args()

    from dnatune.launching import start_ranks

    sibling = Path(__file__).resolve().parent / f"{options.script}.py"
    start_ranks([str(sibling) if sibling.is_file() else options.script, *options.arguments], options.ranks)


if __name__ == "__main__":
    run_script(main)
