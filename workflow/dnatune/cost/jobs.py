"""The jobs that Snakemake would run, as its own dry run counts them."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dnatune
from dnatune.errors import ConfigurationError

_PACKAGE = Path(dnatune.__file__).resolve().parent
_TABLE = re.compile(r"^Job stats:\njob +count\n[- ]+\n(.*?)^total +\d+$", re.DOTALL | re.MULTILINE)
_NOTHING = "Nothing to be done"


def root() -> Path:
    """Return the folder that holds workflow/, config/ and profiles/: the checkout, or the installed package."""
    return _PACKAGE if (_PACKAGE / "workflow" / "Snakefile").is_file() else _PACKAGE.parents[1]


def snakefile() -> Path:
    """Return the Snakefile that a user starts."""
    own = root() / "Snakefile"
    return own if own.is_file() else root() / "workflow" / "Snakefile"


@contextlib.contextmanager
def dry_run(arguments: Sequence[str | Path]) -> Iterator[Callable[[], dict[str, int]]]:
    """Start Snakemake's dry run, which makes no result; yield a function that waits for it.

    The function returns the number of jobs of each rule, the target `all` included.

    Args:
        arguments: those of snakemake that name the configuration.

    Raises:
        ConfigurationError: by the function: Snakemake refuses the configuration; the message has what it says.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile(), "--cores", "all", "--nocolor"]
    command += ["--dry-run", "--quiet", "rules", *arguments]
    process = subprocess.Popen(
        list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def counted() -> dict[str, int]:
        output, _ = process.communicate()
        if process.returncode:
            raise ConfigurationError("Snakemake's dry run fails", where=output.strip(), fix="correct what it names")
        return read_counts(output)

    try:
        yield counted
    finally:
        process.kill()
        process.wait()


def read_counts(output: str) -> dict[str, int]:
    """Return the table of jobs that a dry run prints; nothing if there is nothing to be done.

    Raises:
        ConfigurationError: there is no table.
    """
    found = _TABLE.search(output)
    if found is None and _NOTHING in output:
        return {}
    if found is None:
        raise ConfigurationError(
            "Snakemake's dry run prints no table of jobs", where=output.strip()[-2000:], fix="run `snakemake -n`"
        )
    rows = (line.split() for line in found[1].splitlines())
    return {name: int(count) for name, count in rows}
