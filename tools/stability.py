#!/usr/bin/env python
"""Draw the stability regions of the Runge-Kutta methods.

By hand:  PYTHONPATH=workflow python tools/stability.py --figure stability.svg
"""

import argparse
from pathlib import Path

from dnatune.errors import run_script
from dnatune.files import publish_file
from stability_figure import stability_figure


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, required=True, help="SVG file to write")
    options = parser.parse_args()
    with publish_file(options.figure) as scratch:
        scratch.write_text(stability_figure(), "utf-8")


if __name__ == "__main__":
    run_script(main)
