#!/usr/bin/env python
"""Score a merged model, or a base model as it came, on a task's test split.

By hand:  python workflow/scripts/evaluate.py --settings '{"task": "mine", "labels": ["no", "yes"], "mode": "labels",
          "batch_size": 64, "max_new_tokens": 8, "max_seq_length": 512}' --model merged --test test.jsonl …
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from dnatune.errors import run_script
from dnatune.files import read_json, write_json
from dnatune.settings import read_settings


def main() -> None:
    """Parse the command line and score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", required=True, help="JSON text, or @file: what evaluate_settings returns")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--base", action="store_true", help="the model is a base model: no run made it")
    parser.add_argument("--test", type=Path, required=True, help="records of the test split")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions.tsv to write")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json to write")
    options = parser.parse_args()
    settings = read_settings(options.settings)

    from dnatune import metrics
    from dnatune.predictions import write_predictions

    if not options.base and read_json(options.model / "run.json")["status"] == "diverged":
        write_predictions(options.predictions, [], [], len(settings["labels"]))
        write_json(options.metrics, {**metrics.diverged(), "seconds": 0.0})
        return
    evaluate(options, settings)


def evaluate(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Score every test item and write predictions and metrics."""
    import torch
    from tqdm import tqdm

    from dnatune import engines, exactness, metrics, models, scoring
    from dnatune.predictions import write_answers, write_predictions
    from dnatune.prompts import encode_examples
    from dnatune.records import read_records

    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    records, labels = read_records(options.test), settings["labels"]
    tokenizer = models.load_tokenizer(options.model)
    examples = encode_examples(tokenizer, records, labels, settings["max_seq_length"], str(options.test))
    dtype = engines.dtype_of(engines.resolve_precision("auto", device))
    model = models.load_model(options.model, tokenizer, dtype).to(device).eval()
    started = time.perf_counter()
    with tqdm(total=len(records), desc="scoring", unit="item", mininterval=0.2 if sys.stderr.isatty() else 10) as bar:
        if settings["mode"] == "generate":
            texts = scoring.generate_answers(
                model, tokenizer, examples, settings["batch_size"], settings["max_new_tokens"], bar.update
            )
        else:
            scores = scoring.label_log_probabilities(
                models.LabelLikelihood(model),
                examples,
                range(len(examples)),
                settings["batch_size"],
                exactness.usable_rows(model, examples, scoring=True),
                device,
                bar.update,
            )
    seconds = time.perf_counter() - started
    if settings["mode"] == "generate":
        parsed = [scoring.parse_answer(text, labels) for text in texts]
        write_answers(options.predictions, examples.answers, parsed, texts)
        result = metrics.from_predictions(examples.answers, parsed, len(labels))
    else:
        write_predictions(options.predictions, examples.answers, scores, len(labels))
        result = metrics.from_log_probabilities(examples.answers, scores)
    write_json(options.metrics, {**result, "seconds": seconds})


if __name__ == "__main__":
    run_script(main)
