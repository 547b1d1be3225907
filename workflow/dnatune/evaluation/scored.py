"""Whether the scores of a run are there already, made from the same run, data, settings and code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from dnatune.contracts import Record
from dnatune.errors import DataError
from dnatune.files import sha256_of_file

#: Its name, beside the scores.
FILE = "scored.json"


class Scored(Record):
    """scored.json: what the scores beside it were made from, and their hashes."""

    made_from: dict[str, str]
    """Digests of run.json, of the test split, of the base model's manifest, of the settings and of the code."""
    files: dict[str, str]
    """SHA-256 of each file with scores."""

    @classmethod
    def of(cls, folder: Path, made_from: Mapping[str, str], names: Sequence[str]) -> Self:
        """Return the record of the files with these names in a folder."""
        return cls(made_from=dict(made_from), files={name: sha256_of_file(folder / name) for name in names})


def holds(folder: Path, made_from: Mapping[str, str]) -> bool:
    """Tell whether the scores in a folder are there and were made from these."""
    try:
        known = Scored.read(folder / FILE)
        return Scored.of(folder, made_from, list(known.files)) == known
    except (DataError, OSError):
        return False
