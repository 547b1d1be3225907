"""What optimizers are compared with besides each other: the base model as it came, and published figures."""

import csv
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dnatune.comparison.results import AVERAGED, read_metrics, task_of
from dnatune.comparison.summary import COLUMNS
from dnatune.data.leakage import Audit
from dnatune.errors import DataError
from dnatune.evaluation.contamination import Contamination
from dnatune.evaluation.metrics import Metrics
from dnatune.settings.tasks import GUE, Task

#: The name of the control in paths and tables.
ZERO_SHOT = "zero-shot"
#: The same for its answers less what it says on average.
CENTRED = "zero-shot-centred"
_PUBLISHED = Path(__file__).with_name("published.tsv")


@dataclasses.dataclass(frozen=True)
class ZeroShot:
    """The base model without fine-tuning, scored on the test items of a task."""

    model: str
    task: str
    metrics: Metrics


@dataclasses.dataclass(frozen=True)
class Published:
    """What others report of a model on a task's test split.

    Attributes:
        task, model: of GUE, and theirs.
        scores: metric to value.
        source: where it stands.
    """

    task: str
    model: str
    scores: Mapping[str, float]
    source: str


def read_zero_shot(folder: Path, tasks: Mapping[str, Task]) -> ZeroShot:
    """Read evaluate/zero-shot/<model>/<task>.

    Raises:
        DataError: metrics.json is missing or breaks its contract, or the task is not compared.
    """
    task = task_of(tasks, folder.name, folder)
    metrics = read_metrics(folder / "metrics.json", task)
    if metrics.status != "completed":
        raise DataError(
            f"a base model cannot be {metrics.status}",
            where=str(folder / "metrics.json"),
            fix="delete its folder; the workflow makes it again",
        )
    return ZeroShot(folder.parent.name, task.name, metrics)


@functools.cache
def all_published() -> tuple[Published, ...]:
    """Return every published figure there is, by task and model; published.tsv names the source of each."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    with _PUBLISHED.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            scores = found.setdefault((row["task"], row["model"], row["source"]), {})
            scores[row["metric"]] = float(row["value"])
    return tuple(Published(task, model, scores, source) for (task, model, source), scores in found.items())


def published_of(tasks: Iterable[str], audits: Mapping[str, Audit], simulated: bool) -> list[Published]:
    """Return the published figures that runs may stand beside: of GUE's tasks, on GUE's own test split.

    Args:
        tasks: names.
        audits: audit.json by task, which counts the rows.
        simulated: whether the data are made up, whatever their task is called.
    """
    if simulated:
        return []

    def is_gue(task: str) -> bool:
        sizes = GUE[task].sizes if task in GUE else None
        audit = audits[task]
        return sizes is not None and audit.rows["test"] == sizes[2] and audit.resplit is None

    return [figure for task in tasks if is_gue(task) for figure in all_published() if figure.task == task]


def control_rows(
    zero_shots: Sequence[ZeroShot],
    published: Sequence[Published],
    tasks: Mapping[str, Task],
    probed: Sequence[Contamination] = (),
) -> list[dict[str, Any]]:
    """Return the rows of comparison.tsv behind those of the baselines; None is an empty cell.

    Args:
        zero_shots: base models.
        published: figures of others. A metric that they do not give stays empty.
        tasks: the tasks by name.
        probed: base models asked for the label that gains most over its mean over the items. That answer says what a
            base model knows; the most probable label mostly says which label word it prefers.
    """
    rows = [
        _row(one.model, one.task, ZERO_SHOT, tasks, {key: one.metrics.score(key) for key in AVERAGED})
        for one in zero_shots
    ]
    rows += [_row(one.model, one.task, CENTRED, tasks, {"accuracy": one.accuracy, "mcc": one.mcc}) for one in probed]
    return [*rows, *(_row("published", one.task, one.model, tasks, one.scores) for one in published)]


def _row(
    model: str, task: str, name: str, tasks: Mapping[str, Task], scores: Mapping[str, float | None]
) -> dict[str, Any]:
    metric = tasks[task].metric
    return {
        **dict.fromkeys(COLUMNS),
        "model": model,
        "task": task,
        "optimizer": name,
        "status": "completed",
        "metric": metric,
        "mean": scores.get(metric),
        **scores,
    }
