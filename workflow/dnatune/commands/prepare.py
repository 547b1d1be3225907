"""Turn a task's CSV files into instruction records, one JSON object a line, and say what the splits share.

By hand:  python -m dnatune prepare --experiment config/demo.yaml --task prom_core_all --source folder-of-csv
          --folder folder-of-jsonl
"""

import logging
from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.data import leakage
from dnatune.data.integrity import write_manifest
from dnatune.data.records import cautions, read_csv, write_split
from dnatune.settings import experiment
from dnatune.settings.tasks import SPLITS

_LOG = logging.getLogger(__name__)


def main() -> None:
    """Parse the command line and prepare; all splits are checked and audited before the first is written."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--source", type=Path, required=True, help="folder with train.csv, dev.csv and test.csv")
    parser.add_argument("--folder", type=Path, required=True, help="folder for three .jsonl files and audit.json")
    options = parser.parse_args()
    configuration = experiment.read(options.experiment)
    task, audit = configuration.task(options.task), configuration.experiment.audit
    splits = {split: read_csv(options.source / f"{split}.csv", task) for split in SPLITS}
    for split, rows in splits.items():
        for caution in cautions(split, rows, task.labels):
            _LOG.warning(caution)
    kept, audit = leakage.apply(audit.on_leak, audit.similarity, splits, task, audit.relatives)
    audit.write(options.folder / "audit.json")
    for name, split in kept.items():
        write_split(options.folder / f"{name}.jsonl", split, task.labels)
    write_manifest(options.folder, ["audit.json", *(f"{name}.jsonl" for name in kept)])
