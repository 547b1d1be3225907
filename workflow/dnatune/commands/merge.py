"""Merge an adapter into its base model: a plain transformers folder that loads without peft.

By hand:  python -m dnatune merge --model base --record run.json --folder merged
"""

import shutil
from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.errors import DataError
from dnatune.files import publish_folder
from dnatune.training import record


def main() -> None:
    """Parse the command line and merge; a diverged run has nothing to merge and passes its run.json on."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--record", type=Path, required=True, help="run.json, with the adapter beside it")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    run, adapter = record.Run.read(options.record), record.adapter_of(options.record)
    with publish_folder(options.folder) as folder:
        if run.status == "completed":
            if not (adapter / "adapter_config.json").is_file():
                raise DataError(
                    "the run completed, and its adapter is gone",
                    where=str(adapter),
                    fix=f"delete {options.record}; the workflow trains again",
                )

            from dnatune.model.base_models import merge

            merge(options.model, adapter, folder)
        shutil.copyfile(options.record, folder / "run.json")
