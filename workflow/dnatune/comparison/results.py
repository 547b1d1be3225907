"""What finished stages left, read and held against its contract: runs, baselines, audits."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dnatune.data.leakage import Audit
from dnatune.errors import ConfigurationError, DataError
from dnatune.evaluation.agreement import Merge
from dnatune.evaluation.metrics import Metrics
from dnatune.files import read_json_lines, sha256_of_file
from dnatune.settings.tasks import Task
from dnatune.training.record import Run

#: The name of the baseline that reads a base model.
FROZEN = "frozen"
#: Metrics that stand in the table.
AVERAGED = ("accuracy", "mcc", "f1_macro", "auroc", "brier", "ece")
_AGAIN = "delete its folder; the workflow makes it again"


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """All that is known of one run of the grid.

    Attributes:
        record: run.json.
        metrics: metrics.json.
        predictions: predictions.tsv without the answers' text; no rows when the run diverged.
        log: training.jsonl, one map a step.
        merge: merge.json.
        files: all five.
    """

    record: Run
    metrics: Metrics
    predictions: pd.DataFrame
    log: list[dict[str, Any]]
    merge: Merge
    files: tuple[Path, ...]

    @property
    def model(self) -> str:
        """Return the model's name."""
        return self.record.model

    @property
    def task(self) -> str:
        """Return the task's name."""
        return self.record.task

    @property
    def optimizer(self) -> str:
        """Return the optimizer's name."""
        return self.record.optimizer

    @property
    def seed(self) -> int:
        """Return the seed."""
        return self.record.seed

    @property
    def diverged(self) -> bool:
        """Return whether training ended in divergence, so that there is no model and no metric."""
        return self.record.diverged is not None

    def rate(self, key: str) -> float | None:
        """Return the median over the steps of a rate in training.jsonl; None where a step lacks it."""
        values = [row[key] for row in self.log]
        return None if not values or None in values else float(np.median(values))

    @property
    def overhead(self) -> float | None:
        """Return executed ÷ needed FLOPs over all steps; None where they are not counted."""
        done, needed = ([row[key] for row in self.log] for key in ("executed_flops", "floor_flops"))
        return None if not done or None in done else sum(done) / sum(needed)


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A classifier without fine-tuning, scored on the same items as the runs.

    Attributes:
        task: the task's name.
        name: the baseline's name.
        metrics: metrics.json, of the test split.
        dev: dev.json, of the dev split; it is written before any prediction for the test split exists.
        predictions: predictions.tsv, like that of a run; no rows if the baseline does not apply.
        model: the base model that a `frozen` baseline reads; None for a baseline without a language model.
    """

    task: str
    name: str
    metrics: Metrics
    dev: Metrics
    predictions: pd.DataFrame
    model: str | None = None

    @property
    def applies(self) -> bool:
        """Return whether the baseline suits the task's data; otherwise `metrics.reason` says why not."""
        return self.metrics.status == "completed"


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one (model, task, optimizer), one a seed."""

    model: str
    task: str
    optimizer: str
    runs: tuple[FinishedRun, ...]

    @property
    def head(self) -> str:
        """Return how the model answers, as `models.<name>.head` says it."""
        return self.runs[0].record.settings.get("head", "label_words")

    @property
    def completed(self) -> list[FinishedRun]:
        """Return the runs that have a model and metrics."""
        return [run for run in self.runs if not run.diverged]

    @property
    def accountable(self) -> Sequence[FinishedRun]:
        """Return the runs whose cost stands in the table; diverged ones, cut short, only if there are no others."""
        return self.completed or self.runs

    @property
    def one_class(self) -> int:
        """Return how many of the completed runs give one answer to all test items."""
        return sum(run.predictions["predicted"].nunique(dropna=False) == 1 for run in self.completed)

    def values(self, metric: str) -> list[float]:
        """Return a metric of the completed runs; empty where any of them lacks it."""
        values = [run.metrics.score(metric) for run in self.completed]
        return [] if None in values else values


def read_run(evaluation: Path, record: Path, log: Path, tasks: Mapping[str, Task]) -> FinishedRun:
    """Read one run from the three places where its stages left it.

    Args:
        evaluation: evaluate/<model>/<task>/<optimizer>/seed<k>, with metrics.json, predictions.tsv and merge.json.
        record: finetune/<model>/<task>/<optimizer>/seed<k>/run.json.
        log: training.jsonl beside it.
        tasks: the tasks by name.

    Raises:
        DataError: a file is missing or breaks its contract, or the three are not of one run.
    """
    run = Run.read(record)
    for folder in (evaluation, log.parent):
        if "/".join(folder.parts[-4:]) != run.place:
            raise DataError(
                f"run.json is of {run.place}, and this is not",
                where=str(folder),
                fix=f"name folders of the same runs in the same order; run.json is {record}",
            )
    files = (record, log, *(evaluation / name for name in ("metrics.json", "predictions.tsv", "merge.json")))
    metrics = read_metrics(files[2], task_of(tasks, run.task, record))
    if run.status != metrics.status:
        raise DataError(
            f"the run is {run.status} and its metrics are {metrics.status}",
            where=str(files[2]),
            fix=_AGAIN,
        )
    run.check_outputs(record, only=log.name)
    predictions, merge = _read_predictions(files[3], metrics), Merge.read(files[4])
    return FinishedRun(run, metrics, predictions, _read_log(log), merge, files)


def read_baseline(folder: Path, tasks: Mapping[str, Task]) -> Baseline:
    """Read one baseline from evaluate/baselines/<task>/<baseline>.

    Raises:
        DataError: a file is missing or breaks its contract, the files disagree, or the task is not compared.
    """
    return _baseline(folder, task_of(tasks, folder.parent.name, folder), folder.name)


def read_frozen(folder: Path, tasks: Mapping[str, Task]) -> Baseline:
    """Read the baseline `frozen` of one base model from evaluate/frozen/<model>/<task>.

    Raises:
        DataError: as `read_baseline` says.
    """
    return _baseline(folder, task_of(tasks, folder.name, folder), FROZEN, folder.parent.name)


def _baseline(folder: Path, task: Task, name: str, model: str | None = None) -> Baseline:
    path = folder / "metrics.json"
    metrics, dev = read_metrics(path, task), read_metrics(folder / "dev.json", task)
    if metrics.status == "diverged":
        raise DataError("a baseline cannot be diverged", where=str(path), fix=_AGAIN)
    if metrics.status != dev.status:
        problem = f"the status is '{metrics.status}', and that in dev.json '{dev.status}'"
        raise DataError(problem, where=str(path), fix=_AGAIN)
    predictions = _read_predictions(folder / "predictions.tsv", metrics)
    return Baseline(task.name, name, metrics, dev, predictions, model)


def task_of(tasks: Mapping[str, Task], name: str, where: Path) -> Task:
    """Return a task by name.

    Raises:
        DataError: it is not compared; `where` says what names it.
    """
    if name not in tasks:
        raise DataError(
            f"'{name}' is not among the tasks compared: {', '.join(tasks)}",
            where=str(where),
            fix="add the task",
        )
    return tasks[name]


def _require(record: Any, keys: Iterable[str], path: Path) -> None:
    if not isinstance(record, dict):
        raise DataError(f"{record!r} stands where a map is due", where=str(path), fix=_AGAIN)
    missing = [key for key in keys if key not in record]
    if missing:
        raise DataError(f"missing: {', '.join(missing)}", where=str(path), fix=_AGAIN)


def _require_number(record: Mapping[str, Any], key: str, path: Path) -> None:
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"'{key}' is {value!r}, and not a number", where=str(path), fix=_AGAIN)


def read_metrics(path: Path, task: Task) -> Metrics:
    """Read metrics.json of a task.

    Raises:
        DataError: it is missing or breaks its contract.
    """
    metrics = Metrics.read(path)
    if task.metric not in Metrics.model_fields:
        raise DataError(f"missing: {task.metric}, the task's metric", where=str(path), fix=Metrics.remedy)
    if metrics.confusion is not None and np.shape(metrics.confusion) != (len(task.labels),) * 2:
        raise DataError(
            f"'confusion' has not the {len(task.labels)} classes of task '{task.name}'",
            where=str(path),
            fix=Metrics.remedy,
        )
    return metrics


def _read_predictions(path: Path, metrics: Metrics) -> pd.DataFrame:
    try:
        table = pd.read_csv(
            path,
            sep="\t",
            usecols=lambda column: column != "answer",
            dtype=float,
            keep_default_na=False,
            na_values={"predicted": [""]},
        )
    except FileNotFoundError:
        raise DataError("file not found", where=str(path), fix="run the stage that makes it first") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"not a table: {error}", where=str(path), fix=_AGAIN) from None
    missing = [column for column in ("id", "label", "predicted") if column not in table.columns]
    if missing:
        raise DataError(f"missing columns: {', '.join(missing)}", where=str(path), fix=_AGAIN)
    if len(table) != metrics.n:
        raise DataError(f"{len(table)} rows, and metrics.json counts {metrics.n} items", where=str(path), fix=_AGAIN)
    if metrics.predictions not in (None, sha256_of_file(path)):
        raise DataError("the file has changed since it was scored", where=str(path), fix=_AGAIN)
    return table


def _read_log(path: Path) -> list[dict[str, Any]]:
    try:
        rows = read_json_lines(path)
    except FileNotFoundError:
        raise DataError("file not found", where=str(path), fix="run the stage that makes it first") from None
    for number, row in enumerate(rows, start=1):
        where = Path(f"{path}, line {number}")
        _require(row, ("step", "gradient_evaluations", "loss"), where)
        _require_number(row, "gradient_evaluations", where)
        for key in ("loss", "dev_loss"):
            if row.get(key) is not None:
                _require_number(row, key, where)
    return rows


def group_runs(runs: Iterable[FinishedRun]) -> list[Group]:
    """Return the runs grouped by (model, task, optimizer), in the order in which each first appears.

    Raises:
        DataError: a run is given twice.
    """
    groups: dict[tuple[str, str, str], dict[int, FinishedRun]] = {}
    for run in runs:
        seeds = groups.setdefault((run.model, run.task, run.optimizer), {})
        if run.seed in seeds:
            name = f"{run.model}/{run.task}/{run.optimizer}/seed{run.seed}"
            raise DataError("a run is given twice", where=name, fix="name each run once")
        seeds[run.seed] = run
    return [Group(*key, tuple(seeds.values())) for key, seeds in groups.items()]


def read_audits(paths: Sequence[Path], tasks: Mapping[str, Task]) -> dict[str, Audit]:
    """Return audit.json by task.

    Args:
        paths: one a task, in their order.
        tasks: the tasks by name.

    Raises:
        ConfigurationError: not one file a task.
        DataError: a file is missing or breaks its contract.
    """
    if len(paths) != len(tasks):
        raise ConfigurationError(
            f"{len(paths)} audits of {len(tasks)} tasks", where="command line, --audits", fix="name one for every task"
        )
    return {task: Audit.read(path) for task, path in zip(tasks, paths, strict=True)}
