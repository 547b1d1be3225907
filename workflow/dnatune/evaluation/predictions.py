"""Writes predictions.tsv, one row per test item."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnatune.files import publish_file


def write_predictions(path: Path, labels: Sequence[int], scores: np.ndarray | Sequence[Any], classes: int) -> None:
    """Write the true class, the most probable class and the log-probability of each class.

    Args:
        path: predictions.tsv.
        labels: true class indices [n].
        scores: natural logarithms [n, classes].
        classes: number of classes.
    """
    header = ["id", "label", "predicted", *(f"logp_{index}" for index in range(classes))]
    rows = (
        [number, label, int(np.argmax(row)), *(f"{value:.9g}" for value in row)]
        for number, (label, row) in enumerate(zip(labels, scores, strict=True))
    )
    _write(path, header, rows)


def write_generated(path: Path, labels: Sequence[int], predicted: Sequence[int | None], texts: Sequence[str]) -> None:
    """Write the true class, the class named by the generated text (empty if it is no label) and the text."""
    rows = (
        [number, label, "" if guess is None else guess, " ".join(text.split())]
        for number, (label, guess, text) in enumerate(zip(labels, predicted, texts, strict=True))
    )
    _write(path, ["id", "label", "predicted", "answer"], rows)


def _write(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    with publish_file(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
        writer.writerow(header)
        writer.writerows(rows)
