"""How many rows a task has, and what they take on disk, as far as it is known before anything is downloaded."""

import dataclasses
import json
from pathlib import Path

from dnatune.data import sources
from dnatune.data.leakage import Audit
from dnatune.errors import DnatuneError
from dnatune.settings.experiment import Configuration
from dnatune.settings.tasks import SPLITS

#: What follows a sequence on its line of a CSV file.
_END = ",0\n"


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a task.

    Attributes:
        train, dev, test: rows of the splits.
        length: letters of a sequence.
    """

    train: int
    dev: int
    test: int
    length: int

    @property
    def all(self) -> int:
        """Return the rows of all splits."""
        return self.train + self.dev + self.test

    def bytes_of(self, instruction: str, label: str) -> int:
        """Return what the CSV files and the prepared records take."""
        record = json.dumps({"instruction": instruction, "input": "A" * self.length, "output": label})
        return self.all * (self.length + len(_END) + len(record) + 1)


def rows_of(configuration: Configuration, task: str, results: Path) -> Rows | None:
    """Return the rows of a task: as prepared, of the simulator, of a folder, or as published; None if unknown."""
    chosen, data = configuration.task(task), configuration.data_settings(task)
    if data.simulated:
        simulated = data.simulated
        return Rows(simulated.train_size, simulated.dev_size, simulated.test_size, simulated.length)
    length = chosen.length or 0
    try:
        classes = Audit.read(results / "prepare" / task / "audit.json").classes
        counts = [sum(classes[split].values()) for split in SPLITS]
    except DnatuneError:
        files = sources.files_of(data) if data.directory else []
        there = bool(files) and all(file.is_file() for file in files)
        counts = [_lines(file) - 1 for file in files] if there else list(chosen.sizes or ())
        if there and sum(counts):
            length = sum(file.stat().st_size for file in files) // sum(counts) - len(_END)
    return Rows(*counts, length) if counts else None


def _lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)
