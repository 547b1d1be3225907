"""Merge and score runs of one task, each with `merge` and then `evaluate`, in one process.

A run that has these scores already, of the same adapter, settings and code, keeps them: after a seed is added, or after
a job that failed, only what is missing is scored.

By hand:  python -m dnatune evaluate_runs --experiment config/demo.yaml --results results/demo
          tiny/prom_core_all/adamw/seed0 tiny/prom_core_all/adamw/seed1
"""

import argparse
import functools
import logging
import shutil
from pathlib import Path

from dnatune.cli import call
from dnatune.commands import count, stage_parser
from dnatune.errors import DataError
from dnatune.evaluation.scored import FILE, Scored, holds
from dnatune.files import digest, sha256_of_file
from dnatune.kept import give_back, keep
from dnatune.provenance import code_digest
from dnatune.settings import experiment

#: What `evaluate` writes for a run.
_FILES = ("predictions.tsv", "metrics.json", "merge.json", "README.md")


def main() -> None:
    """Parse the command line, and merge and score one run after the other."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--results", type=Path, required=True, help="folder results/<name>")
    parser.add_argument("--ranks", type=count, default=1, help="number of processes that share a test split")
    parser.add_argument("--cpus", type=count, help="cores that they share")
    parser.add_argument("--keep-merged", action="store_true", help="leave the merged models where they are")
    parser.add_argument("places", nargs="+", metavar="PLACE", help="a run: model/task/optimizer/seed<k>")
    options = parser.parse_args()
    configuration = experiment.read(options.experiment)
    for place in options.places:
        evaluate(options, configuration, place)


def evaluate(options: argparse.Namespace, configuration: experiment.Configuration, place: str) -> None:
    """Merge and score one run, unless its scores and, if it is to be kept, its merged model are there.

    Raises:
        ConfigurationError: the experiment has no such run.
        DataError: the run, its base model or its test split is not there.
    """
    run, results = configuration.settings_of_run(place), options.results
    model, test = results / "download/models" / run.model, results / "prepare" / run.task.name / "test.jsonl"
    record, merged = results / "finetune" / place / "run.json", results / "merge" / place
    folder = results / "evaluate" / place
    settings = (configuration.evaluate_settings(run.task.name), configuration.merge_settings())
    made_from = {
        "run": _digest(record),
        "test": _digest(test),
        "model": _digest(model / "manifest.json"),
        "settings": digest([part.compared() for part in settings]),
        "code": _code(),
    }
    scored = give_back(folder, functools.partial(holds, folder, made_from))
    if scored and (merged.is_dir() or not options.keep_merged):
        logging.warning("%s: scored already, by the same code and with the same settings", place)
        return
    of_run = ["--experiment", options.experiment, "--model", model, "--record", record]
    call("merge", *of_run, "--folder", merged)
    launch = ["launch", "--ranks", options.ranks, "--cpus", options.cpus or options.ranks] if options.ranks > 1 else []
    written = ["--predictions", folder / _FILES[0], "--metrics", folder / _FILES[1]]
    written += ["--agreement", folder / _FILES[2], "--card", folder / _FILES[3]]
    call(*launch, "evaluate", *of_run, "--merged", merged, "--task", run.task.name, "--test", test, *written)
    if not options.keep_merged:
        shutil.rmtree(merged)
    Scored.of(folder, made_from, _FILES).write(folder / FILE)
    keep(folder, _FILES)


def _digest(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except FileNotFoundError:
        raise DataError("file not found", where=str(path), fix="run the stage that makes it first") from None


@functools.cache
def _code() -> str:
    from dnatune.commands import evaluate, merge

    return digest([code_digest(Path(module.__file__)) for module in (merge, evaluate)])
