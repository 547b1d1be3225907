"""Merge an adapter into its base model: a plain transformers folder that loads without peft.

By hand:  python -m dnatune merge --model base --adapter adapter --folder merged
"""

import argparse
import shutil
from pathlib import Path

from dnatune.files import publish_folder, read_json


def main() -> None:
    """Parse the command line and merge; a diverged run has nothing to merge and passes its run.json on."""
    parser = argparse.ArgumentParser(
        prog="python -m dnatune merge", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--adapter", type=Path, required=True, help="folder of the adapter, with run.json")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    run = read_json(options.adapter / "run.json")
    with publish_folder(options.folder) as folder:
        if run["status"] == "completed":
            from dnatune.model.base_models import merge

            merge(options.model, options.adapter, folder)
        shutil.copyfile(options.adapter / "run.json", folder / "run.json")
