"""Parts of a prediction, each a file of its own that appears whole, so that one that was killed goes on behind them."""

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dnatune.files import digest, publish_file
from dnatune.prediction.calibration import Calibration
from dnatune.prediction.columns import REASON

_CALIBRATION = "calibration.json"


class Parts:
    """The folder of the parts, one for each chunk of rows by its number.

    Args:
        folder: where they are kept until the output is written.
        conditions: all that decides the predictions. Parts of other conditions are deleted.
    """

    def __init__(self, folder: Path, conditions: Mapping[str, Any]):
        self._top, self._folder = folder, folder / digest(conditions)

    def begin(self) -> None:
        """Make the folder, and delete parts of other conditions."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for other in self._top.iterdir():
            if other.is_dir() and other != self._folder:
                shutil.rmtree(other)

    @property
    def calibration(self) -> Calibration | None:
        """Return the temperature of the parts, if it is known already."""
        path = self._folder / _CALIBRATION
        return Calibration.read(path) if path.is_file() else None

    def keep_calibration(self, calibration: Calibration) -> None:
        """Write down the temperature of the parts."""
        calibration.write(self._folder / _CALIBRATION)

    def has(self, number: int) -> bool:
        """Return whether the part of a chunk is there."""
        return self._path(number).is_file()

    def write(self, number: int, table: pa.Table) -> None:
        """Write the part of a chunk, whole or not at all."""
        with publish_file(self._path(number)) as scratch:
            pq.write_table(table, scratch)

    def read(self) -> Iterator[pa.Table]:
        """Yield all parts in order."""
        number = 0
        while self.has(number):
            yield pq.read_table(self._path(number), memory_map=False)
            number += 1

    def reasons(self) -> Counter[str]:
        """Return how many rows are not scored, by the beginnings of the reasons."""
        found: Counter[str] = Counter()
        number = 0
        while self.has(number):
            found.update(filter(None, pq.read_table(self._path(number), columns=[REASON])[REASON].to_pylist()))
            number += 1
        return found

    def remove(self) -> None:
        """Delete the parts, of which the output is made."""
        shutil.rmtree(self._folder, ignore_errors=True)
        # A lock of the process that writes may still be there.
        with contextlib.suppress(OSError):
            self._top.rmdir()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.parquet"
