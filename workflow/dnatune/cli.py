"""The command line: `python -m dnatune STAGE …` runs the stage's module of `dnatune.commands`.

Stages that follow each other in one process, `STAGE … --then STAGE …`, import PyTorch and transformers once.

Nothing is imported before the stage is known; an older Python must be able to read this file, for `doctor` tells of it.
"""

import importlib
import itertools
import os
import sys
from pathlib import Path

#: The stages, each with what it does.
STAGES = {
    "download": "fetch or make a task's data, or a base model",
    "pretrain": "make a tiny base model and train it on DNA",
    "prepare": "turn a task's CSV files into records and audit its splits",
    "launch": "start a stage or a script on several ranks",
    "finetune": "fine-tune one (model, task, optimizer, seed); runs on every rank",
    "finetune_runs": "fine-tune several runs or trials of an experiment, those that are not complete yet",
    "choose": "choose an optimizer's learning rate among its trials",
    "plan": "write down what a comparison will test",
    "merge": "merge an adapter into its base model",
    "evaluate": "score a model on a task's test split",
    "evaluate_runs": "merge and score several runs, those that are not scored yet",
    "evaluate_baseline": "score the baselines without a language model",
    "evaluate_frozen": "score a logistic regression on a frozen base model's hidden states",
    "probe": "look for signs that a base model has seen a test split",
    "predict": "predict new sequences with a model that was tuned",
    "publish": "send a tuned model to a model hub or a folder, with its card and metrics",
    "compare": "compare finished runs: tables, figures and the report",
    "benchmark": "time the original recipe, common practice and dnatune's own",
    "status": "show how far an experiment is",
    "cost": "say what a configuration costs before it starts",
    "doctor": "say what will work on this machine or cluster",
}


#: Between the words of two stages.
_THEN = "--then"


def main() -> None:
    """Run the stages that the command line names."""
    words = sys.argv[1:]
    log = None
    if words[:1] == ["--log"] and len(words) > 1:
        log, words = Path(words[1]), words[2:]
    if words[:1] in (["-h"], ["--help"]):
        print(usage())
        return
    stages = [list(group) for is_end, group in itertools.groupby(words, _THEN.__eq__) if not is_end] or [[]]
    for named in stages:
        if not named or named[0] not in STAGES:
            said = f"unknown stage '{named[0]}'" if named else "no stage named"
            print(f"dnatune: {said}\n\n{usage()}", file=sys.stderr)
            sys.exit(2)
    from dnatune.errors import run_script
    from dnatune.launch.containers import refuse_obstacle
    from dnatune.launch.job_environment import refuse_missing_module

    def run() -> None:
        refuse_missing_module()
        refuse_obstacle()
        for named in stages:
            call(*named)

    run_script(run, _write_to(log) if log else None)


def call(stage: str, *arguments: object) -> None:
    """Run a stage in this process."""
    sys.argv = [f"python -m dnatune {stage}", *map(str, arguments)]
    importlib.import_module(f"dnatune.commands.{stage}").main()


def _write_to(log: Path) -> Path:
    """Send all that this process and its children say to a log; return the path of the outcome beside it."""
    from dnatune import outcomes

    outcome = outcomes.beside(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    outcome.unlink(missing_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)
    return outcome


def usage() -> str:
    """Return how to call this, and what each stage does."""
    width = max(map(len, STAGES))
    lines = [f"  {name:{width}}  {said}" for name, said in STAGES.items()]
    return "\n".join(
        [
            "usage: python -m dnatune [--log FILE] STAGE … [--then STAGE …]",
            "",
            *lines,
            "",
            "python -m dnatune STAGE --help tells a stage's arguments. With --log, what the stage says goes to FILE;",
            "if it fails, how it failed goes to a file beside it whose name ends in .outcome.json. Of stages that are",
            "joined by --then each runs after the one before it has succeeded.",
        ]
    )
