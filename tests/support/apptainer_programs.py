"""Programs that stand where Apptainer is called."""

import os
import stat
from pathlib import Path

#: Notes its command line as one line of `calls`, leaves out its options and the image, and runs `INSTEAD`.
_WITHOUT_CONTAINER = r"""#!/bin/bash
[ "$1" = --version ] && { echo "apptainer version 1.4.5"; exit; }
echo "${*//$'\n'/ }" >> "${0%/*}/calls"
shift
while [[ $1 == -* ]]; do case $1 in --home|--bind) shift 2;; *) shift;; esac; done
shift
INSTEAD
"""


def write(folder: Path, instead: str = 'exec "$@"') -> Path:
    """Write a program `apptainer`, which has no container, into a folder, and return the folder.

    Args:
        folder: where; there the program notes in the file `calls` what it is called with.
        instead: what it does with the command (`$@`) that it is to run in a container.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "apptainer"
    program.write_text(_WITHOUT_CONTAINER.replace("INSTEAD", instead), "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def first_on_path(folder: Path) -> str:
    """Return the variable PATH with a folder before the others."""
    return os.pathsep.join([str(folder), os.environ["PATH"]])
