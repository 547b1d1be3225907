"""Stages of `python -m dnatune` in forks of one process that has imported the libraries, which takes most of a stage.

A stage is run as a rule runs it, but for one thing: the ranks that the launcher starts are forks too.
As a process of its own:  python tests/support/forked_stages.py
It reads lines of JSON with `words` (what follows `python -m dnatune`), `folder` and `log`, and answers with the status.
"""

import contextlib
import importlib
import json
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


def run(words: Sequence[str], folder: Path, log: Path, in_rank: Callable[[int], None] = lambda rank: None) -> int:
    """Run a stage to its end in a folder and return its exit status.

    Args:
        words: what follows `python -m dnatune`, or the path of a script and its arguments.
        folder: the working folder.
        log: what the stage says, from its beginning.
        in_rank: called in each rank before it begins.
    """

    def start_rank(command: Sequence[str], own: Mapping[str, str]) -> Fork:
        def act() -> None:
            in_rank(int(own["RANK"]))
            sys.argv = ["dnatune", *command[2:]]
            cli.main()

        return Fork(act, own)

    def act() -> None:
        _write_to(log)
        os.chdir(folder)
        launcher.start_process = start_rank
        if words[0].endswith(".py"):
            sys.argv = list(words)
            runpy.run_path(words[0], run_name="__main__")
        else:
            sys.argv = ["dnatune", *words]
            cli.main()

    return Fork(act, {}).wait(_LONGEST)


def import_libraries() -> None:
    """Import what stages import; DeepSpeed says a line of its own, which is not for whoever reads this process."""
    with contextlib.redirect_stdout(sys.stderr):
        for name in _LIBRARIES:
            importlib.import_module(name)


def main() -> None:
    import_libraries()
    for line in sys.stdin:
        asked = json.loads(line)
        code = run(asked["words"], Path(asked["folder"]), Path(asked["log"]))
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
