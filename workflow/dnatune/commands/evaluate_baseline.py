"""Score a task's baselines without a language model: on the dev split, or with --test on the test split.

By hand:  python -m dnatune evaluate_baseline --experiment config/demo.yaml --task prom_core_all
          --train train.jsonl --dev dev.jsonl --folder baselines
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
    parser.add_argument("--baseline", nargs="*", help="names of baselines; without them, all that are configured")
    parser.add_argument("--train", type=Path, required=True, help="records of the training split")
    parser.add_argument("--dev", type=Path, required=True, help="records of the dev split")
    parser.add_argument("--test", type=Path, help="records of the test split; without it, dev is scored")
    parser.add_argument("--folder", type=Path, required=True, help="folder in which each baseline has one of its own")
    options = parser.parse_args()
    settings = experiment.read(options.experiment).baseline_settings(options.task, options.baseline)

    from dnatune.data.records import read_split
    from dnatune.evaluation import baselines, metrics
    from dnatune.evaluation.predictions import write_predictions

    labels = settings.labels
    train, dev = (read_split(path, labels) for path in (options.train, options.dev))
    scored = read_split(options.test, labels) if options.test else dev
    for name in settings.baselines:
        folder = options.folder / name
        started = time.perf_counter()
        try:
            scores = baselines.fit(name, train, dev, len(labels), settings.simulated)(scored.sequences)
            found = metrics.from_log_probabilities(scored.labels, scores, time.perf_counter() - started)
        except baselines.NotApplicable as reason:
            found = metrics.not_applicable(str(reason))
        if not options.test:
            found.write(folder / "dev.json")
            continue
        applies = found.status == "completed"
        predicted = (scored.labels, scores) if applies else ([], [])
        write_predictions(folder / "predictions.tsv", *predicted, len(labels))
        found.write_beside(folder / "predictions.tsv", folder / "metrics.json")
