#!/usr/bin/env python
"""Fetch or make a task's CSV files, or a base model.

By hand:  python workflow/scripts/download.py data --settings '{"source": "directory", "task": "prom_core_all",
          "path": "GUE"}' --folder results/mine/download/data/prom_core_all
"""

import argparse
from pathlib import Path

from dnatune.downloads import download_data, download_model
from dnatune.errors import run_script
from dnatune.settings import read_settings


def main() -> None:
    """Parse the command line and download."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["data", "model"], help="what to fetch or make")
    parser.add_argument("--settings", required=True, help="JSON text, or @file: source, and the source's own keys")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=Path, help="training CSV, for the tokenizer of a tiny model")
    options = parser.parse_args()
    settings = read_settings(options.settings)
    if options.what == "data":
        download_data(settings, options.folder)
    else:
        download_model(settings, options.train, options.folder)


if __name__ == "__main__":
    run_script(main)
