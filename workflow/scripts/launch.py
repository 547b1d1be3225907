#!/usr/bin/env python
"""Start a script on several ranks of this machine.

By hand:  python workflow/scripts/launch.py --ranks 2 workflow/scripts/finetune.py --help
"""

import argparse

from dnatune.errors import run_script


def main() -> None:
    """Parse the command line and start the ranks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, required=True, help="number of processes on this machine")
    parser.add_argument("script", help="Python script to run on each rank")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args()

    from dnatune.launching import start_ranks

    start_ranks([options.script, *options.arguments], options.ranks)


if __name__ == "__main__":
    run_script(main)
