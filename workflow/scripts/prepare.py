#!/usr/bin/env python
"""Turn a task's CSV files into instruction records, one JSON object a line.

By hand:  python workflow/scripts/prepare.py --settings '{"name": "mine", "labels": ["no", "yes"], "instruction": "…"}'
          --source folder-of-csv --folder folder-of-jsonl
"""

import argparse
from pathlib import Path

from dnatune.errors import run_script
from dnatune.records import instruction_records, read_csv, write_records
from dnatune.settings import read_settings
from dnatune.tasks import SPLITS, Task


def main() -> None:
    """Parse the command line and prepare; all splits are checked before the first is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON text, or @file: name, labels, instruction")
    parser.add_argument("--source", type=Path, required=True, help="folder with train.csv, dev.csv and test.csv")
    parser.add_argument("--folder", type=Path, required=True, help="folder for train.jsonl, dev.jsonl and test.jsonl")
    options = parser.parse_args()
    settings = read_settings(options.settings)
    task = Task(settings["name"], tuple(settings["labels"]), settings["instruction"])
    splits = {split: read_csv(options.source / f"{split}.csv", len(task.labels)) for split in SPLITS}
    for split, rows in splits.items():
        write_records(options.folder / f"{split}.jsonl", instruction_records(rows, task))


if __name__ == "__main__":
    run_script(main)
