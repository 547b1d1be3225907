"""Whether files are still those that a stage has made: recorded when they are made, checked before they are used."""

import os
from collections.abc import Iterable
from pathlib import Path

from dnatune.contracts import Record
from dnatune.errors import DataError
from dnatune.files import VERIFY, digest, folder_hashes, hashes_of, sha256_of_file
from dnatune.threads import in_threads

MANIFEST = "manifest.json"
#: Larger files are read whole only if their size or date differs: 16 GB of weights take half a minute and more.
_SMALL_BYTES = 2**26
#: Most files that a message names.
_MOST_NAMED = 3


class Stamp(Record):
    """What a large file was like when it was made."""

    size: int
    """Size in bytes."""
    modified: int
    """Time of its last change, in nanoseconds since 1970."""


class Contents(Record):
    """The files of a folder as they were made."""

    files: dict[str, str]
    """SHA-256 of every file, by relative path."""
    large: dict[str, Stamp]
    """Size and date of files of more than 64 MiB. Such a file is read whole before it is used only if these differ, or
    if the site says `verify`; smaller ones always are."""

    def restricted(self, name: str) -> "Contents":
        """Return what is recorded of one file; nothing if nothing is."""
        return self.model_copy(update={"files": {key: made for key, made in self.files.items() if key == name}})

    def below(self, folder: str) -> "Contents":
        """Return the same contents with paths that begin at the parent of the folder, which has this name."""
        return Contents(
            files={f"{folder}/{name}": made for name, made in self.files.items()},
            large={f"{folder}/{name}": made for name, made in self.large.items()},
        )


def contents_of(folder: Path) -> Contents:
    """Return the contents of a folder, but for its manifest and hidden files."""
    hashes = folder_hashes(folder)
    return Contents(files=hashes, large=stamps(folder, hashes))


def stamps(folder: Path, names: Iterable[str]) -> dict[str, Stamp]:
    """Return size and date of those files of a folder that are large."""
    found = {name: (folder / name).stat() for name in names}
    return {
        name: Stamp(size=status.st_size, modified=status.st_mtime_ns)
        for name, status in found.items()
        if status.st_size > _SMALL_BYTES
    }


def write_manifest(folder: Path, names: Iterable[str]) -> None:
    """Write the manifest of some files of a folder."""
    hashes = hashes_of(folder, names)
    Contents(files=hashes, large=stamps(folder, hashes)).write(folder / MANIFEST)


def check(folder: Path, made: Contents, fix: str) -> None:
    """Check that a folder has the files that were made, and as they were made.

    Args:
        folder: the folder.
        made: its contents as recorded.
        fix: what to do if it has not.

    Raises:
        DataError: a file is missing or has changed; the message names it.
    """
    found = in_threads(lambda name: _problem(folder, name, made), made.files)
    problems = [(name, problem) for name, problem in zip(made.files, found, strict=True) if problem]
    if problems:
        name, problem = problems[0]
        others = [other for other, _ in problems[1 : _MOST_NAMED + 1]]
        more = f"; so have {', '.join(others)}" if others else ""
        raise DataError(f"{problem}{more}", where=str(folder / name), fix=fix)


def check_file(path: Path, fix: str) -> None:
    """Check a file against the manifest beside it; where there is none, or it does not name the file, nothing is known.

    Args:
        path: the file.
        fix: what to do if it has changed.

    Raises:
        DataError: the file is missing or has changed, or the manifest is damaged.
    """
    manifest = path.with_name(MANIFEST)
    if manifest.is_file():
        made = Contents.read(manifest)
        check(path.parent, made.restricted(path.name), fix)


def check_model(folder: Path) -> str:
    """Check a model folder, base or merged, and return the digest of its files; without a manifest nothing is checked.

    Raises:
        DataError: a file is missing, has changed or is none of those that were made.
    """
    fix = "delete the folder; the workflow makes it again"
    if not (folder / MANIFEST).is_file():
        return digest(folder_hashes(folder))
    made = Contents.read(folder / MANIFEST)
    check(folder, made, fix)
    strangers = sorted(set(_names(folder)) - made.files.keys())
    if strangers:
        raise DataError(
            "the file is not one of this model's", where=str(folder / strangers[0]), fix=f"move it away, or {fix}"
        )
    return digest(made.files)


def _names(folder: Path) -> list[str]:
    """Return the names of all files but the manifest and those that are hidden or in hidden folders.

    The hub's client keeps notes in such a folder of what it has downloaded.
    """
    names = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return [str(name) for name in visible if name.name != MANIFEST]


def _problem(folder: Path, name: str, made: Contents) -> str | None:
    file = folder / name
    try:
        status = file.stat()
    except FileNotFoundError:
        return "the file is missing"
    stamp = made.large.get(name)
    same = stamp == Stamp(size=status.st_size, modified=status.st_mtime_ns)
    if stamp and same and os.environ.get(VERIFY) != "1":
        return None
    return None if sha256_of_file(file) == made.files[name] else "the file has changed since it was made"
