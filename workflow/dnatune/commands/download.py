"""Fetch or make a task's CSV files, or a base model.

By hand:  python -m dnatune download data --settings '{"source": "directory", "task": "prom_core_all",
          "path": "GUE"}' --folder results/mine/download/data/prom_core_all
"""

import argparse
from pathlib import Path

from dnatune.data.sources import download_data
from dnatune.settings import read_settings


def main() -> None:
    """Parse the command line and download."""
    parser = argparse.ArgumentParser(
        prog="python -m dnatune download", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["data", "model"], help="what to fetch or make")
    parser.add_argument("--settings", required=True, help="JSON text, or @file: source, and the source's own keys")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=Path, help="training CSV, for the tokenizer of a tiny model")
    options = parser.parse_args()
    settings = read_settings(options.settings)
    if options.what == "data":
        download_data(settings, options.folder)
    else:
        from dnatune.model.sources import download_model

        download_model(settings, options.train, options.folder)
