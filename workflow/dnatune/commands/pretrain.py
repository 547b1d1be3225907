"""Make a tiny base model and train it on DNA; no relative of a test item is among the sequences.

By hand:  python -m dnatune pretrain --experiment results/mine/experiment.json --model tiny
          --data results/mine/download/data --prepared results/mine/prepare --folder base
"""

from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.settings import experiment


def main() -> None:
    """Parse the command line, choose the sequences and train."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--model", required=True, help="name of the base model")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with <task>/train.csv of the tasks to train on"
    )
    parser.add_argument("--prepared", type=Path, required=True, help="folder with <task>/test.jsonl of each task")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    options = parser.parse_args()
    configuration = experiment.read(options.experiment)
    settings = configuration.model_settings(options.model)
    tasks = configuration.pretraining_tasks(options.model)

    from dnatune.data.records import read_csv, read_split
    from dnatune.model.sources import write_pretrained

    candidates = {name: read_csv(options.data / name / "train.csv", task).sequences for name, task in tasks.items()}
    tests = {
        task.name: read_split(options.prepared / task.name / "test.jsonl", task.labels).sequences
        for task in settings.reported
    }
    write_pretrained(settings, candidates, tests, options.folder)
