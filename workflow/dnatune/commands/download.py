"""Fetch or make a task's CSV files, or a base model.

By hand:  python -m dnatune download data --experiment config/demo.yaml --task prom_core_all --folder data/prom_core_all
"""

from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.data.sources import download_data
from dnatune.settings import experiment


def main() -> None:
    """Parse the command line and download."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("what", choices=["data", "model"], help="what to fetch or make")
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--task", help="name of the task whose data are wanted")
    parser.add_argument("--model", help="name of the base model that is wanted")
    parser.add_argument("--requested", help="revision as it was first asked for; default: the configuration's")
    parser.add_argument("--folder", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=Path, help="training CSV, for the tokenizer of a tiny model")
    options = parser.parse_args()
    configuration = experiment.read(options.experiment)
    if options.what == "data":
        if options.task is None:
            parser.error("data need --task")
        download_data(configuration.data_settings(options.task).asked_as(options.requested), options.folder)
    else:
        from dnatune.model.sources import download_model

        if options.model is None:
            parser.error("a model needs --model")
        settings = configuration.model_settings(options.model).asked_as(options.requested)
        download_model(settings, options.train, options.folder)
