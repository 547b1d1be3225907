"""Fine-tune several runs or trials of an experiment, one after the other, each with `launch … finetune`.

A run that is complete, under the same settings, inputs and code, is left as it is: after a job that failed or was cut
the same command goes on with the next run. A run that fails or diverges leaves the others alone. Without a GPU the
ranks of several runs are forks of this process, which has imported the libraries once.

By hand:  python -m dnatune finetune_runs --experiment config/demo.yaml --results results/demo
          tiny/prom_core_all/adamw/seed0 tiny/prom_core_all/adamw/seed1
"""

import argparse
import importlib
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dnatune import cli
from dnatune.commands import count, launch, stage_parser
from dnatune.errors import REPEATING, DnatuneError
from dnatune.launch import launcher
from dnatune.launch.forks import Fork
from dnatune.settings import experiment

#: What a rank imports.
_LIBRARIES = (
    *("dnatune.commands.finetune", "dnatune.optimizers", "dnatune.data.prompts", "dnatune.evaluation.metrics"),
    *(
        "dnatune.model.base_models",
        "dnatune.model.flops",
        "dnatune.model.label_likelihood",
        "dnatune.model.micro_batch",
    ),
    *("dnatune.training.checkpoints", "dnatune.training.engine", "dnatune.training.loop"),
)


def main() -> None:
    """Parse the command line, and train one run after the other."""
    parser = stage_parser(__name__, __doc__)
    parser.add_argument("--experiment", type=Path, required=True, help=experiment.HELP)
    parser.add_argument("--results", type=Path, required=True, help="folder results/<name>")
    parser.add_argument("--ranks", type=count, default=1, help="number of processes on each machine")
    parser.add_argument("--nodes", type=count, default=1, help="number of machines; more than one needs Slurm")
    parser.add_argument("--cpus", type=count, help="cores of each machine, which its processes share")
    parser.add_argument(
        "places",
        nargs="+",
        metavar="PLACE",
        help="a run: model/task/optimizer/seed<k>; a trial: …/rate<r> or …/fine<k>/seed<s>",
    )
    options = parser.parse_args()
    launch.prepare()
    configuration = experiment.read(options.experiment)
    stages = [words_of(options, configuration, place) for place in options.places]
    start = start_of_ranks(options)
    failed: list[DnatuneError] = []
    for place, words in zip(options.places, stages, strict=True):
        state = Path(words[words.index("--checkpoints") + 1])
        try:
            launch.run(words, options.ranks, options.nodes, options.cpus, state, start)
        except DnatuneError as failure:
            if failure.ends_job or len(options.places) == 1:
                raise
            logging.error("%s: %s: %s", place, type(failure).__name__, failure)
            failure.what = f"{place}: {failure.what}"
            failed.append(failure)
    if failed:
        # If one may succeed at the next try, the job is worth one.
        raise min(failed, key=lambda failure: isinstance(failure, REPEATING))


def words_of(options: argparse.Namespace, configuration: experiment.Configuration, place: str) -> list[str]:
    """Return the stage `finetune` and its arguments for a run or trial.

    Raises:
        ConfigurationError: the experiment has none at this place.
    """
    is_run = not configuration.tuned or re.fullmatch("([^/]+/){3}seed[0-9]+", place) is not None
    if is_run:
        configuration.settings_of_run(place)
    else:
        # The rates of the second step follow from the best of the first; whether there is such a trial does not.
        configuration.trials.settings_at(place, best=1.0)
    model, task, optimizer, *own = place.split("/")
    results = options.results
    tuning = results / "tuning" / model / task / optimizer
    folder = results / ("finetune" if is_run else "tuning") / place
    words: list[object] = ["finetune", "--experiment", options.experiment, "--run" if is_run else "--trial", place]
    words += ["--model", results / "download/models" / model]
    words += ["--train", results / "prepare" / task / "train.jsonl", "--dev", results / "prepare" / task / "dev.jsonl"]
    words += ["--record", folder / "run.json", "--training-log", folder / "training.jsonl"]
    words += ["--checkpoints", folder / "checkpoints"]
    if is_run and configuration.tuned:
        words += ["--choice", tuning / "choice.json"]
    elif len(own) > 1:
        words += ["--choice", tuning / "coarse.json"]
    return list(map(str, words))


def start_of_ranks(options: argparse.Namespace) -> launcher.Start | None:
    """Return what starts the ranks of each run: forks where several runs follow each other without a GPU."""
    if len(options.places) == 1 or options.nodes > 1:
        return None
    # The libraries count the cores when they are imported.
    os.environ.update(launcher.share_of_cores(options.ranks, options.cpus))
    from dnatune.launch.process_group import import_deepspeed, sees_gpu

    if sees_gpu():
        # CUDA cannot be used in a fork.
        return None
    import_deepspeed(on_gpu=False)
    for name in _LIBRARIES:
        importlib.import_module(name)
    return start_fork


def start_fork(command: Sequence[str], own: Mapping[str, str]) -> Fork:
    """Start a rank as a fork; the command is `-m dnatune` and a stage."""

    def act() -> None:
        sys.argv = ["dnatune", *command[2:]]
        cli.main()

    return Fork(act, own)
