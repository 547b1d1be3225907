"""Snakemake's command line in a fork of this process, which has imported it: importing takes most of a dry run."""

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from snakemake.cli import main

from workflow_runs import Finished


def run(arguments: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> Finished:
    """Run what stands behind `python -m snakemake` on a command line, in a folder, to its end."""
    said = folder.with_name(f"{folder.name}-said.txt")
    child = os.fork()
    if not child:
        code = 70
        try:
            _become(folder, environment, said)
            main([str(word) for word in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return Finished(os.waitstatus_to_exitcode(status), said.read_text("utf-8"))


def _become(folder: Path, environment: Mapping[str, str], said: Path) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    # What this process had for its output belongs to pytest.
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
