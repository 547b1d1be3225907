"""Choose an optimizer's learning rate among its trials, by their score on the dev split.

With the records of both steps of a search, the second decides; their seeds tell them apart.

By hand:  python -m dnatune choose --experiment config/comparison.yaml --model tiny --task prom_core_tata
          --optimizer adamw --records rate0.001/run.json rate0.01/run.json
          --logs rate0.001/training.jsonl rate0.01/training.jsonl --dev dev.jsonl --choice choice.json
"""

import logging
import sys
from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.comparison import learning_rates
from dnatune.data.records import read_split
from dnatune.errors import ConfigurationError
from dnatune.settings import experiment


def main() -> None:
    """Parse the command line and choose."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--model", required=True, help="name of the base model")
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--optimizer", required=True, help="name of the optimizer")
    parser.add_argument("--records", type=Path, nargs="+", required=True, help="run.json files, one per trial")
    parser.add_argument(
        "--logs", type=Path, nargs="+", required=True, help="training.jsonl files, in the order of --records"
    )
    parser.add_argument("--dev", type=Path, required=True, help="records of the dev split")
    parser.add_argument("--choice", type=Path, required=True, help="choice.json to write")
    options = parser.parse_args()
    if len(options.records) != len(options.logs):
        raise ConfigurationError(
            f"{len(options.records)} records and {len(options.logs)} logs",
            where="command line, --records and --logs",
            fix="name one of each for every trial, in the same order",
        )
    configuration = experiment.read(options.experiment)
    settings = configuration.choose_settings(options.model, options.task, options.optimizer)
    trials = [learning_rates.read_trial(*place) for place in zip(options.records, options.logs, strict=True)]
    scored = read_split(options.dev, settings.labels).first(settings.dev_examples)
    choice = learning_rates.choose(trials, scored.labels, settings)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for sentence in learning_rates.remarks(choice):
        logging.warning(sentence)
    choice.write(options.choice)
