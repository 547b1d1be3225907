"""Stages of `python -m dnatune` in forks of one process that has imported the libraries, which takes most of a stage.

A stage is run as a rule runs it, but for one thing: the ranks that the launcher starts are forks too.
"""

import contextlib
import functools
import importlib
import os
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dnatune import cli
from dnatune.launch import launcher
from dnatune.launch.forks import Fork

_LIBRARIES = (
    *("torch", "transformers.models.llama.modeling_llama", "peft", "deepspeed", "pandas", "sklearn.linear_model"),
    *(f"dnatune.commands.{stage}" for stage in cli.STAGES if stage not in ("doctor", "status")),
    *("dnatune.training.checkpoints", "dnatune.training.loop", "dnatune.model.merging", "dnatune.model.scoring"),
)
#: Seconds that a stage may take on a busy machine.
_LONGEST = 900


def _write_to(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def run_words(words: Sequence[str]) -> None:
    """Run what stands behind `python` on a command line: `-m` and a module, or a file, and arguments."""
    if words[0] == "-m":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")


def start_rank(
    command: Sequence[str], own: Mapping[str, str], in_rank: Callable[[int], None] = lambda rank: None
) -> Fork:
    """Start a rank as the launcher does, in a fork, where `in_rank` is called before it begins."""

    def act() -> None:
        in_rank(int(own["RANK"]))
        run_words(list(map(str, command)))

    return Fork(act, own)


def run(words: Sequence[str], folder: Path, log: Path, in_rank: Callable[[int], None]) -> int:
    """Run a stage to its end in a folder and return its exit status.

    Args:
        words: what follows `python -m dnatune`.
        folder: the working folder.
        log: what the stage says, from its beginning.
        in_rank: called in each rank before it begins.
    """

    def act() -> None:
        _write_to(log)
        os.chdir(folder)
        launcher.start_process = functools.partial(start_rank, in_rank=in_rank)
        run_words(["-m", "dnatune", *words])

    return Fork(act, {}).wait(_LONGEST)


def import_libraries() -> None:
    """Import what stages import; DeepSpeed says a line of its own, which is not for whoever reads this process."""
    with contextlib.redirect_stdout(sys.stderr):
        for name in _LIBRARIES:
            importlib.import_module(name)
