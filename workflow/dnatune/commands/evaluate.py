"""Score a merged model, or a base model as it came, on a task's test split.

By hand:  python -m dnatune evaluate --experiment config/demo.yaml --task prom_core_all --model merged
          --test test.jsonl --predictions predictions.tsv --metrics metrics.json
"""

import argparse
import time
from pathlib import Path

from dnatune.commands import stage_parser
from dnatune.files import publish_file
from dnatune.settings import experiment
from dnatune.settings.scoring import EvaluateSettings
from dnatune.training.record import Run


def main() -> None:
    """Parse the command line and score."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--test", type=Path, required=True, help="records of the test split")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.tsv to write")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json to write")
    parser.add_argument("--base", type=Path, help="of a merged model, the folder of its base, with manifest.json")
    parser.add_argument("--card", type=Path, help="model card of a merged model to write, Markdown; goes with --base")
    options = parser.parse_args()
    if options.card and not options.base:
        parser.error("--card needs --base")
    settings = experiment.read(options.experiment).evaluate_settings(options.task)

    from dnatune.evaluation import metrics
    from dnatune.evaluation.predictions import write_predictions
    from dnatune.launch import process_group

    first = process_group.is_first()
    made = options.model / "run.json"
    if made.is_file() and Run.read(made).diverged:
        if first:
            write_predictions(options.predictions, [], [], len(settings.labels))
            metrics.diverged().write(options.metrics)
    else:
        evaluate(options, settings)
    if first and options.card:
        write_card(options)


def write_card(options: argparse.Namespace) -> None:
    """Write the card of the merged model from its run.json, its metrics and where its base model came from."""
    from dnatune.data.manifests import Manifest
    from dnatune.evaluation.metrics import Metrics
    from dnatune.report.model_card import model_card

    card = model_card(
        Run.read(options.model / "run.json"),
        Metrics.read(options.metrics),
        Manifest.read(options.base / "manifest.json"),
    )
    with publish_file(options.card) as scratch:
        scratch.write_text(card, "utf-8")


def evaluate(options: argparse.Namespace, settings: EvaluateSettings) -> None:
    """Score every test item and write predictions and metrics."""
    import numpy as np

    from dnatune.data.prompts import encode_examples
    from dnatune.data.records import read_split
    from dnatune.evaluation import metrics
    from dnatune.evaluation.predictions import write_generated, write_predictions
    from dnatune.launch import process_group
    from dnatune.model import base_models, scoring
    from dnatune.model.shared_prefix import exactness
    from dnatune.training import engine

    rank = process_group.join_scorers()
    labels = settings.labels
    test = read_split(options.test, labels)
    tokenizer = base_models.load_tokenizer(options.model)
    examples = encode_examples(tokenizer, test, labels, settings.max_seq_length, str(options.test), rank)
    dtype = engine.dtype_of(engine.resolve_precision("auto", rank.device))
    model = base_models.load_model(options.model, tokenizer, dtype).to(rank.device).eval()
    own = process_group.own_indices(len(examples), settings.batch_size, rank)
    started = time.perf_counter()
    with scoring.progress(len(own), shown=rank.first) as bar:
        if settings.mode == "generate":
            scored = scoring.generate_texts(
                model,
                tokenizer,
                examples.subset(own),
                settings.batch_size,
                settings.max_new_tokens,
                bar.update,
            )
        else:
            scored = scoring.label_log_probabilities(
                base_models.LabelLikelihood(model),
                examples,
                own,
                settings.batch_size,
                exactness.shared_rows(model, [examples]),
                rank.device,
                bar.update,
            )
    scored = process_group.gather(own, scored, rank)
    if scored is None:
        return
    seconds = time.perf_counter() - started
    if settings.mode == "generate":
        parsed = [scoring.parse_label(text, labels) for text in scored]
        write_generated(options.predictions, examples.answers, parsed, scored)
        result = metrics.from_predictions(examples.answers, parsed, len(labels), seconds)
    else:
        scores = np.array(scored)
        write_predictions(options.predictions, examples.answers, scores, len(labels))
        result = metrics.from_log_probabilities(examples.answers, scores, seconds)
    result.write(options.metrics)
