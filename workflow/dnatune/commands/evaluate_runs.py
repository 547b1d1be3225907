"""Merge and score runs of one task, each with `merge` and then `evaluate`, in one process.

A run that has these scores already, of the same adapter, settings and code, keeps them: after a seed is added, or after
a job that was killed, only what is missing is scored.

By hand:  python -m dnatune evaluate_runs --experiment config/demo.yaml --results results/demo
          tiny/prom_core_all/adamw/seed0 tiny/prom_core_all/adamw/seed1
"""

import argparse
import functools
import logging
import os
import shutil
from pathlib import Path

from dnatune.cli import call
from dnatune.commands import stage_parser
from dnatune.contracts import Record
from dnatune.errors import DataError
from dnatune.files import digest, sha256_of_file
from dnatune.provenance import code_digest
from dnatune.settings import experiment

#: What `evaluate` writes for a run.
_FILES = ("predictions.tsv", "metrics.json", "merge.json", "README.md")


class Scored(Record):
    """scored.json: what the scores beside it were made from, and their hashes."""

    made_from: dict[str, str]
    """Digests of run.json, of the test split, of the base model's manifest, of the settings and of the code."""
    files: dict[str, str]
    """SHA-256 of each file with scores."""


def main() -> None:
    """Parse the command line, and merge and score one run after the other."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--results", type=Path, required=True, help="folder results/<name>")
    parser.add_argument("--ranks", type=int, default=1, help="number of processes that share a test split")
    parser.add_argument("--cpus", type=int, help="cores that they share")
    parser.add_argument("--keep-merged", action="store_true", help="leave the merged models where they are")
    parser.add_argument("places", nargs="+", metavar="PLACE", help="a run: model/task/optimizer/seed<k>")
    options = parser.parse_args()
    configuration = experiment.read(options.experiment)
    for place in options.places:
        evaluate(options, configuration, place)


def evaluate(options: argparse.Namespace, configuration: experiment.Configuration, place: str) -> None:
    """Merge and score one run, unless its scores and, if it is to be kept, its merged model are there."""
    results, (model_name, task, *_) = options.results, place.split("/")
    model, test = results / "download/models" / model_name, results / "prepare" / task / "test.jsonl"
    record, merged = results / "finetune" / place / "run.json", results / "merge" / place
    folder = results / "evaluate" / place
    settings = (configuration.evaluate_settings(task), configuration.merge_settings())
    made_from = {
        "run": sha256_of_file(record),
        "test": sha256_of_file(test),
        "model": sha256_of_file(model / "manifest.json"),
        "settings": digest([part.compared() for part in settings]),
        "code": _code(),
    }
    if is_scored(folder, made_from) and (merged.is_dir() or not options.keep_merged):
        logging.warning("%s: scored already, by the same code and with the same settings", place)
        return
    of_run = ["--experiment", options.experiment, "--model", model, "--record", record]
    call("merge", *of_run, "--folder", merged)
    launch = ["launch", "--ranks", options.ranks, "--cpus", options.cpus or options.ranks] if options.ranks > 1 else []
    written = ["--predictions", folder / _FILES[0], "--metrics", folder / _FILES[1]]
    written += ["--agreement", folder / _FILES[2], "--card", folder / _FILES[3]]
    call(*launch, "evaluate", *of_run, "--merged", merged, "--task", task, "--test", test, *written)
    if not options.keep_merged:
        shutil.rmtree(merged)
    files = {name: sha256_of_file(folder / name) for name in _FILES}
    Scored(made_from=made_from, files=files).write(folder / "scored.json")


def is_scored(folder: Path, made_from: dict[str, str]) -> bool:
    """Tell whether the scores are there and made from these; they then count as written now."""
    try:
        known = Scored.read(folder / "scored.json")
        same = {name: sha256_of_file(folder / name) for name in known.files} == known.files
    except (DataError, OSError):
        return False
    if not same or known.made_from != made_from:
        return False
    for name in known.files:
        # Snakemake goes by dates: what is older than its inputs is made again.
        os.utime(folder / name)
    return True


@functools.cache
def _code() -> str:
    from dnatune.commands import evaluate, merge

    return digest([code_digest(Path(module.__file__)) for module in (merge, evaluate)])
