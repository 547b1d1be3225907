"""Score a baseline without a language model on a task's test split.

By hand:  python -m dnatune evaluate_baseline --experiment config/demo.yaml --task prom_core_all --baseline kmers
          --train train.jsonl --test test.jsonl --predictions predictions.tsv --metrics metrics.json
"""

import time
from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.settings import experiment


def main() -> None:
    """Parse the command line and score."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--baseline", required=True, help="name of the baseline")
    parser.add_argument("--train", type=Path, required=True, help="records of the training split")
    parser.add_argument("--test", type=Path, required=True, help="records of the test split")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.tsv to write")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json to write")
    options = parser.parse_args()
    settings = experiment.read(options.experiment).baseline_settings(options.task, options.baseline)

    from dnatune.data.records import read_split
    from dnatune.evaluation import baselines, metrics
    from dnatune.evaluation.predictions import write_predictions

    labels = settings.labels
    train, test = (read_split(path, labels) for path in (options.train, options.test))
    started = time.perf_counter()
    scores = baselines.log_probabilities(
        settings.baseline,
        train,
        test.sequences,
        len(labels),
        settings.simulated,
    )
    seconds = time.perf_counter() - started
    write_predictions(options.predictions, test.labels, scores, len(labels))
    metrics.from_log_probabilities(test.labels, scores, seconds).write(options.metrics)
