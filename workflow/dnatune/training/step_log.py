"""training.jsonl: a line per step."""

import json
import math
from pathlib import Path
from typing import Any

from dnatune.errors import RunError
from dnatune.files import publish_file
from dnatune.training.plan import Plan, Progress


class StepLog:
    """Writes training.jsonl; a resumed run drops the lines after the step of its checkpoint."""

    def __init__(self, path: Path, step: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._read(path, step) if step else []
        self.losses = [math.nan if row["loss"] is None else row["loss"] for row in kept]
        self.path = path
        with publish_file(path) as scratch:
            scratch.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")

    @staticmethod
    def _read(path: Path, step: int) -> list[dict[str, Any]]:
        """Return the lines up to a step; a line that was cut short can only come after them."""
        lines = path.read_text("utf-8").splitlines()[:step] if path.exists() else []
        try:
            kept = [json.loads(line) for line in lines]
        except ValueError:
            kept = []
        if [row["step"] for row in kept] != list(range(1, step + 1)):
            raise RunError(
                f"the log does not have the {step} steps of the checkpoint",
                where=str(path),
                fix="delete the folder of this file; the run then begins again",
            )
        return kept

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


def or_null(value: float | None) -> float | None:
    """Return a number that JSON has; None for one that is not finite."""
    return value if value is not None and math.isfinite(value) else None
