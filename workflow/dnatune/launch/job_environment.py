"""The environment that a rule's commands find, in a Slurm job and elsewhere."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnatune.errors import ConfigurationError

#: Environment variable with the name of the environment module that could not be loaded, for the rule's own command:
#: its message then stands in the rule's log, and the job is not tried again.
MISSING_MODULE = "DNATUNE_MISSING_MODULE"


def prepare(library: Path | None, modules: Sequence[str], exports: Mapping[str, str]) -> None:
    """Change this process's environment, which the commands of its jobs inherit.

    `python` is then the interpreter of this process, unless a conda environment brings its own, and finds the library.

    Args:
        library: folder that holds the package `dnatune`; None if it is installed.
        modules: environment modules to load; inside a Slurm job those of the site.
        exports: environment variables to set.
    """
    for name in modules:
        if not _load_module(name):
            os.environ[MISSING_MODULE] = name
            break
    if library:
        _put_first("PYTHONPATH", str(library))
    _put_first("PATH", str(Path(sys.executable).parent))
    # A folder of the user's must not shadow a module.
    # Nor may the locale decide how text files are read.
    os.environ.update({"PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", **exports})


def refuse_locale(config: Any) -> None:
    """Refuse text beyond ASCII where this process does not take the command line and names of files for UTF-8.

    It would read a Greek letter of the command line as two others, and find no file whose name has one.

    Args:
        config: the configuration, as Snakemake has read it.

    Raises:
        ConfigurationError: the locale has another encoding, and the configuration has such text.
    """
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") != "utf8" and not repr(config).isascii():
        raise ConfigurationError(
            f"the configuration has letters beyond ASCII, and the locale's encoding is {encoding}",
            where="environment variables LC_ALL, LC_CTYPE and LANG",
            fix="type the command with PYTHONUTF8=1 before it, or choose a locale of UTF-8, such as LC_ALL=C.UTF-8",
        )


def _put_first(variable: str, folder: str) -> None:
    others = [path for path in os.environ.get(variable, "").split(os.pathsep) if path not in ("", folder)]
    os.environ[variable] = os.pathsep.join([folder, *others])


def _load_module(name: str) -> bool:
    """Load an environment module into this process's environment; return whether that was possible.

    `module` is a function of the shell, so bash loads it and tells what its environment is then.
    """
    script = 'module load "$1" >&2 && exec env -0 >&"$2"'
    reading, writing = os.pipe()
    done = subprocess.Popen(["bash", "-c", script, "bash", name, str(writing)], pass_fds=(writing,))
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        text = stream.read().decode("utf-8", "surrogateescape")
    if done.wait() or not text:
        return False
    found = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
    os.environ.update(found)
    for gone in os.environ.keys() - found.keys():
        del os.environ[gone]
    return True


def ignore_end_signal() -> None:
    """Ignore USR1 in this process and in the shells that it starts.

    Slurm sends every process of a job word that the time is nearly over. Only training acts on it.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def refuse_missing_module() -> None:
    """Refuse to run a stage whose environment is not what the site says.

    Raises:
        ConfigurationError: an environment module of the site could not be loaded.
    """
    if name := os.environ.get(MISSING_MODULE):
        raise ConfigurationError(
            f"the environment module {name} cannot be loaded",
            where="the site, key 'slurm.modules'",
            fix="name one that `module avail` lists on a compute node; what `module` said is in the job's Slurm log",
        )
