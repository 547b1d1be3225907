"""training.jsonl: a line per step."""

import json
import math
import os
from pathlib import Path
from typing import Any

from dnatune.files import publish_file
from dnatune.training.plan import Plan, Progress


def whole_steps(path: Path) -> int:
    """Return how many steps, from the first on, a log holds without a gap; 0 if there is no log."""
    return len(_rows(path))


def last_row(path: Path) -> dict[str, Any] | None:
    """Return the line of the last step that a log holds without a gap; None if there is none."""
    rows = _rows(path)
    return rows[-1] if rows else None


class StepLog:
    """Writes training.jsonl; a resumed run drops the lines after the step of its checkpoint.

    Args:
        path: the file, which holds the steps up to `step`.
        step: the step that the run goes on from; 0 begins the file anew.
    """

    def __init__(self, path: Path, step: int):
        kept = _rows(path)[:step] if step else []
        self.losses = [math.nan if row["loss"] is None else row["loss"] for row in kept]
        self.path = path
        with publish_file(path) as scratch:
            scratch.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")

    def write(self, progress: Progress, plan: Plan, record: dict[str, Any]) -> None:
        """Add the line of a step."""
        row = {
            "step": progress.step,
            "gradient_evaluations": progress.gradient_evaluations,
            "epoch": progress.step / plan.steps_per_epoch,
            **{key: or_null(value) for key, value in record.items()},
            "seconds": progress.seconds,
        }
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")

    def sync(self) -> None:
        """Return when the lines are on disk; a checkpoint must not be there before the steps that led to it."""
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the lines of the steps 1, 2, … up to the first that is missing or damaged."""
    rows: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or row.get("step") != len(rows) + 1 or "loss" not in row:
            break
        rows.append(row)
    return rows


def or_null(value: float | None) -> float | None:
    """Return a number that JSON has; None for one that is not finite."""
    return value if value is not None and math.isfinite(value) else None
