"""Second names of what a run has made, by which it outlives the jobs that it shares with other runs.

Snakemake deletes all outputs of a job before the job begins and if it fails, those of runs that are complete too. What
is kept here is a hard link that Snakemake does not know of. Outputs that Snakemake marks by `update` would not do: if
the job fails, it puts the old files back and takes them for what the new settings have made.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from dnatune.files import publish_folder

#: Name of the folder, beside the files.
FOLDER = ".kept"


def keep(folder: Path, names: Iterable[str]) -> None:
    """Keep files of a folder, in place of what was kept there before."""
    with publish_folder(folder / FOLDER) as scratch:
        for name in names:
            _link(folder / name, scratch / name)


def give_back(folder: Path, fits: Callable[[], bool]) -> bool:
    """Give a folder back what was kept of it and has gone, if what is there then is what is asked for.

    If so, its files count as written now, because Snakemake goes by dates. If not, what was given back is taken away.

    Args:
        folder: of the run.
        fits: tells whether the files in the folder are those of this run; asked once.
    """
    kept = [path.name for path in (folder / FOLDER).glob("*")]
    missing = [name for name in kept if not (folder / name).exists()]
    for name in missing:
        _link(folder / FOLDER / name, folder / name)
    if fits():
        for name in kept:
            os.utime(folder / name)
        return True
    for name in missing:
        (folder / name).unlink()
    return False


def _link(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    # Some file systems have no hard links.
    shutil.copyfile(source, target)
