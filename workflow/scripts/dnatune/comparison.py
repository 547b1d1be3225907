"""comparison.tsv, what each optimizer reached at what cost, and tests.tsv, what that says of each pair of them."""

import csv
import dataclasses
import io
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd

from dnatune import statistics
from dnatune.errors import ConfigurationError, DataError
from dnatune.files import read_json, read_json_lines
from dnatune.tasks import Task

#: The columns of comparison.tsv, in their order.
COLUMNS = (
    "model",
    "task",
    "optimizer",
    "status",
    "seeds",
    "metric",
    "mean",
    "standard_deviation",
    "accuracy",
    "mcc",
    "f1_macro",
    "auroc",
    "brier",
    "ece",
    "steps",
    "gradient_evaluations",
    "global_batch_size",
    "wall_seconds",
    "gpu_seconds",
    "flags",
)
#: The columns of tests.tsv, in their order.
TEST_COLUMNS = (
    "model",
    "task",
    "first",
    "second",
    "verdict",
    "within_margin",
    "metric",
    "seeds",
    "difference",
    "low",
    "high",
    "p_value",
    "adjusted_p",
    "mcnemar_p",
    "improvement",
    "improvement_low",
    "improvement_high",
    "effect_size",
    "effect_size_low",
    "effect_size_high",
    "seeds_needed",
    "power",
    "level",
    "equivalence_margin",
    "flags",
    "withheld",
    "sentence",
    "seeds_sentence",
)
_AVERAGED = ("accuracy", "mcc", "f1_macro", "auroc", "brier", "ece")
_COUNTS = ("steps", "gradient_evaluations", "global_batch_size", "micro_batch_size", "accumulation", "ranks")
_SIZES = ("trainable_parameters", "total_parameters", "wall_seconds", "gpu_seconds")
_AGAIN = "delete its folder; the workflow makes it again"


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """All that is known of one run of the grid.

    Attributes:
        record: run.json.
        metrics: metrics.json.
        predictions: predictions.tsv without the answers' text; no rows when the run diverged.
        log: training.jsonl, one map a step.
    """

    record: dict[str, Any]
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    log: list[dict[str, Any]]

    @property
    def model(self) -> str:
        """Return the model's name."""
        return self.record["model"]

    @property
    def task(self) -> str:
        """Return the task's name."""
        return self.record["task"]

    @property
    def optimizer(self) -> str:
        """Return the optimizer's name."""
        return self.record["optimizer"]

    @property
    def seed(self) -> int:
        """Return the seed."""
        return self.record["seed"]

    @property
    def diverged(self) -> bool:
        """Return whether training ended in divergence, so that there is no model and no metric."""
        return self.record["status"] == "diverged"

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
    """A classifier without a language model, scored on the same test items."""

    task: str
    name: str
    metrics: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one (model, task, optimizer), one a seed."""

    model: str
    task: str
    optimizer: str
    runs: tuple[FinishedRun, ...]

    @property
    def completed(self) -> list[FinishedRun]:
        """Return the runs that have a model and metrics."""
        return [run for run in self.runs if not run.diverged]

    @property
    def accountable(self) -> Sequence[FinishedRun]:
        """Return the runs whose cost stands in the table; diverged ones, cut short, only if there are no others."""
        return self.completed or self.runs

    def values(self, metric: str) -> list[float]:
        """Return a metric of the completed runs; empty where any of them lacks it."""
        values = [run.metrics[metric] for run in self.completed]
        return [] if None in values else values


def tasks_by_name(settings: Mapping[str, Any]) -> dict[str, Task]:
    """Return the tasks of what `Configuration.compare_settings` returns.

    Raises:
        ConfigurationError: a key is missing.
    """
    missing = [key for key in ("name", "tasks", "simulated", "comparison") if key not in settings]
    if missing:
        raise ConfigurationError(
            f"missing: {', '.join(missing)}", where="command line, --settings", fix="see compare.py --help"
        )
    try:
        return {
            entry["name"]: Task(entry["name"], tuple(entry["labels"]), entry["instruction"], entry["metric"])
            for entry in settings["tasks"]
        }
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            f"no usable list of tasks: {error!r}",
            where="command line, --settings, key 'tasks'",
            fix="give each task name, labels, instruction and metric",
        ) from None


@dataclasses.dataclass(frozen=True)
class Testing:
    """How pairs are tested.

    Attributes:
        equivalence_margin: largest difference that does not matter, in units of the task's metric.
        level: confidence level of all intervals.
    """

    equivalence_margin: float
    level: float


def testing_of(settings: Mapping[str, Any]) -> Testing:
    """Return the map `comparison` of what `Configuration.compare_settings` returns.

    Raises:
        ConfigurationError: it is no such map.
    """
    try:
        return Testing(**settings["comparison"])
    except TypeError:
        raise ConfigurationError(
            f"{settings['comparison']!r} does not say how to test",
            where="command line, --settings, key 'comparison'",
            fix="give equivalence_margin and level",
        ) from None


def read_run(evaluation: Path, adapter: Path, log: Path, tasks: Mapping[str, Task]) -> FinishedRun:
    """Read one run from the three places where its stages left it.

    Args:
        evaluation: evaluate/<model>/<task>/<optimizer>/seed<k>, with metrics.json and predictions.tsv.
        adapter: finetune/<model>/<task>/<optimizer>/seed<k>/adapter, with run.json.
        log: training.jsonl beside the adapter.
        tasks: the tasks by name.

    Raises:
        DataError: a file is missing or breaks its contract, or the three are not of one run.
    """
    path = adapter / "run.json"
    record = read_json(path)
    _require(record, ("status", "diverged", "model", "task", "optimizer", "seed", "settings", "final_loss"), path)
    _require(record, (*_COUNTS, *_SIZES, "precision", "device", "inputs", "software"), path)
    for key in ("seed", *_COUNTS, *_SIZES):
        _require_number(record, key, path)
    for key in ("settings", "inputs"):
        _require(record[key], (), path)
    _require(record["software"], ("code",), path)
    place = (record["model"], record["task"], record["optimizer"], f"seed{record['seed']}")
    for folder in (evaluation, log.parent):
        if folder.parts[-4:] != place:
            raise DataError(
                f"run.json is of {'/'.join(place)}, and this is not",
                where=str(folder),
                fix=f"name folders of the same runs in the same order; run.json is {path}",
            )
    task = _task(tasks, record["task"], path)
    metrics = _read_metrics(evaluation / "metrics.json", task)
    diverged = record["status"] == "diverged"
    if diverged:
        _require(record["diverged"], ("step", "loss", "gradient_norm", "reason"), path)
    if record["status"] != metrics["status"]:
        raise DataError(
            f"the run is {record['status']} and its metrics are {metrics['status']}",
            where=str(evaluation / "metrics.json"),
            fix=_AGAIN,
        )
    predictions = _read_predictions(evaluation / "predictions.tsv", metrics)
    return FinishedRun(record, metrics, predictions, _read_log(log))


def read_baseline(folder: Path, tasks: Mapping[str, Task]) -> Baseline:
    """Read one baseline from evaluate/baselines/<task>/<baseline>.

    Raises:
        DataError: metrics.json is missing or breaks its contract, or the task is not compared.
    """
    task = _task(tasks, folder.parent.name, folder)
    path = folder / "metrics.json"
    metrics = _read_metrics(path, task)
    if metrics["status"] != "completed":
        raise DataError(f"a baseline cannot be {metrics['status']}", where=str(path), fix=_AGAIN)
    return Baseline(task.name, folder.name, metrics)


def _task(tasks: Mapping[str, Task], name: str, where: Path) -> Task:
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


def _read_metrics(path: Path, task: Task) -> dict[str, Any]:
    metrics = read_json(path)
    _require(metrics, ("status", "n", "confusion", "unparsable", *_AVERAGED), path)
    if metrics["status"] not in ("completed", "diverged"):
        raise DataError(f"status is {metrics['status']!r}", where=str(path), fix=_AGAIN)
    if metrics["status"] == "diverged":
        return metrics
    for key in ("n", "unparsable", "accuracy", "mcc", "f1_macro"):
        _require_number(metrics, key, path)
    for key in ("auroc", "brier", "ece"):
        if metrics[key] is not None:
            _require_number(metrics, key, path)
    if task.metric not in metrics:
        raise DataError(f"missing: {task.metric}, the task's metric", where=str(path), fix=_AGAIN)
    if np.shape(metrics["confusion"]) != (len(task.labels),) * 2:
        raise DataError(
            f"'confusion' has not the {len(task.labels)} classes of task '{task.name}'",
            where=str(path),
            fix=_AGAIN,
        )
    return metrics


def _read_predictions(path: Path, metrics: Mapping[str, Any]) -> pd.DataFrame:
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
    if len(table) != metrics["n"]:
        raise DataError(f"{len(table)} rows, and metrics.json counts {metrics['n']} items", where=str(path), fix=_AGAIN)
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


def comparison_rows(
    groups: Sequence[Group], baselines: Iterable[Baseline], tasks: Mapping[str, Task]
) -> list[dict[str, Any]]:
    """Return the rows of comparison.tsv: one a group, then one a baseline; None is an empty cell.

    Means are over completed seeds. A metric that one of them lacks is left empty rather than averaged over the others.
    """
    flags = _flags(groups)
    rows = [_row(group, tasks[group.task].metric, flags[index]) for index, group in enumerate(groups)]
    return [*rows, *(_baseline_row(baseline, tasks[baseline.task].metric) for baseline in baselines)]


def _row(group: Group, metric: str, flags: list[str]) -> dict[str, Any]:
    diverged = len(group.runs) - len(group.completed)
    values = group.values(metric)
    costs = group.accountable
    return {
        "model": group.model,
        "task": group.task,
        "optimizer": group.optimizer,
        "status": f"diverged {diverged} of {len(group.runs)}" if diverged else "completed",
        "seeds": len(group.runs),
        "metric": metric,
        "mean": _mean(values),
        "standard_deviation": stdev(values) if len(values) > 1 else None,
        **{key: _mean(group.values(key)) for key in _AVERAGED},
        **{key: _same(costs, key) for key in ("steps", "gradient_evaluations", "global_batch_size")},
        **{key: _mean([run.record[key] for run in costs]) for key in ("wall_seconds", "gpu_seconds")},
        "flags": " ".join(flags),
    }


def _baseline_row(baseline: Baseline, metric: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(COLUMNS),
        "model": "baseline",
        "task": baseline.task,
        "optimizer": baseline.name,
        "status": baseline.metrics["status"],
        "metric": metric,
        "mean": baseline.metrics[metric],
        **{key: baseline.metrics[key] for key in _AVERAGED},
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _same(runs: Sequence[FinishedRun], key: str) -> int | str:
    values = {run.record[key] for run in runs}
    return values.pop() if len(values) == 1 else "mixed"


def _flags(groups: Sequence[Group]) -> list[list[str]]:
    """Return the flags of each group.

    Budgets are compared over completed runs: a diverged run stopped early for another reason, which its own flag says.
    """
    codes = {run.record["software"]["code"] for group in groups for run in group.runs}

    def differ(group: Group, key: str, chosen: Callable[[Group], Sequence[FinishedRun]]) -> bool:
        peers = [peer for peer in groups if (peer.model, peer.task) == (group.model, group.task)]
        return len({run.record[key] for peer in peers for run in chosen(peer)}) > 1

    flags = []
    for group in groups:
        checks = {
            "unequal_budget": differ(group, "gradient_evaluations", lambda peer: peer.completed),
            "unequal_batch": differ(group, "global_batch_size", lambda peer: peer.runs),
            "mixed_code": len(codes) > 1,
            "diverged": len(group.completed) < len(group.runs),
        }
        flags.append([flag for flag, raised in checks.items() if raised])
    return flags


def pair_rows(groups: Sequence[Group], tasks: Mapping[str, Task], testing: Testing) -> list[dict[str, Any]]:
    """Return the rows of tests.tsv: one a pair of optimizers of the same model and task; None is an empty cell.

    The p-values of all pairs of a task, whatever their models, are adjusted for their number together.

    Raises:
        ConfigurationError: the level or the margin is out of range.
    """
    rows = []
    for task in tasks.values():
        members = [group for group in groups if group.task == task.name]
        pairs = [_Pair(a, b, task, testing) for a, b in itertools.combinations(members, 2) if a.model == b.model]
        differences = [pair.difference() for pair in pairs]
        adjusted = statistics.holm([difference.p_value for difference in differences])
        rows += [pair.row(*tested) for pair, *tested in zip(pairs, differences, adjusted, strict=True)]
    return rows


class _Pair:
    """Two optimizers of one model and task, over the seeds that both completed.

    Attributes:
        names: of the two optimizers.
        seeds: those that both completed, in the order of the first.
        sides: their runs [two, seeds].
    """

    def __init__(self, first: Group, second: Group, task: Task, testing: Testing):
        self.first, self.second, self.task, self.testing = first, second, task, testing
        self.names = (first.optimizer, second.optimizer)
        # A metric that no paired test knows gives way to the one that all tasks have.
        self.metric = task.metric if task.metric in ("mcc", "f1_macro") else "mcc"
        completed = [{run.seed: run for run in group.completed} for group in (first, second)]
        self.seeds = [seed for seed in completed[0] if seed in completed[1]]
        self.sides = [[side[seed] for seed in self.seeds] for side in completed]

    def difference(self) -> statistics.PairedDifference:
        """Return the metric of the first minus that of the second, or the reasons why it cannot be tested."""
        level = self.testing.level
        if refusal := self._refusal():
            refused = statistics.Interval(None, None, None, level, "; ".join([refusal, *self._lost()]))
            return statistics.PairedDifference(self.metric, len(self.seeds), 0, (), refused)
        labels = [np.stack([self._labels(run) for run in side]) for side in self.sides]
        found = statistics.paired_difference(*labels, self._truth(), self.metric, level)
        if found.interval.reason is None:
            return found
        reason = "; ".join([*(self._constant() or [found.interval.reason]), *self._lost()])
        return dataclasses.replace(found, interval=dataclasses.replace(found.interval, reason=reason))

    def row(self, difference: statistics.PairedDifference, adjusted_p: float | None) -> dict[str, Any]:
        """Return the pair's row of tests.tsv."""
        level, margin = self.testing.level, self.testing.equivalence_margin
        verdict = statistics.verdict(difference, margin, adjusted_p, self.names)
        needed = statistics.seeds_needed(difference, margin)
        values = [[run.metrics[self.metric] for run in side] for side in self.sides]
        improvement = statistics.probability_of_improvement(*values, level)
        effect = _effect_size(*values, level)
        tested = difference.interval
        reasons = {
            "verdict": tested.reason,
            "improvement": improvement.reason,
            "effect size": effect.reason,
        }
        flags = self._flags()
        return {
            "model": self.first.model,
            "task": self.task.name,
            "first": self.names[0],
            "second": self.names[1],
            "verdict": verdict.word,
            "within_margin": "yes" if verdict.within_margin else "no",
            "metric": self.metric,
            "seeds": " ".join(map(str, self.seeds)),
            "difference": tested.estimate,
            "low": tested.low,
            "high": tested.high,
            "p_value": difference.p_value,
            "adjusted_p": adjusted_p,
            "mcnemar_p": " ".join(f"{p:.6g}" for p in self._mcnemar()),
            "improvement": improvement.estimate,
            "improvement_low": improvement.low,
            "improvement_high": improvement.high,
            "effect_size": effect.estimate,
            "effect_size_low": effect.low,
            "effect_size_high": effect.high,
            "seeds_needed": needed.seeds,
            "power": needed.power_now,
            "level": level,
            "equivalence_margin": margin,
            "flags": " ".join(flags),
            "withheld": "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason),
            "sentence": " ".join([*self._terms(flags), verdict.sentence, *self._left_out(tested.reason)]),
            "seeds_sentence": needed.sentence,
        }

    def _lost(self) -> list[str]:
        """Return, in words, the seeds that one of the two did not complete."""
        words = []
        for group, other in ((self.first, self.second), (self.second, self.first)):
            own = {run.seed for run in group.runs}
            diverged = [run.seed for run in group.runs if run.diverged]
            missing = [run.seed for run in other.runs if run.seed not in own]
            words += [f"{group.optimizer} diverged with {_seeds(diverged)}"] if diverged else []
            words += [f"{group.optimizer} has no run with {_seeds(missing)}"] if missing else []
        return words

    def _refusal(self) -> str | None:
        if not self.seeds:
            return "no seed was completed by both"
        truth = self._truth()
        if any(not np.array_equal(run.predictions["label"], truth) for side in self.sides for run in side):
            return "the runs were scored on different test items"
        return None

    def _constant(self) -> list[str]:
        return [
            f"{name} answers every item alike with {_seeds(seeds)}, and what that owes to chance cannot be estimated"
            for name, side in zip(self.names, self.sides, strict=True)
            if (seeds := [run.seed for run in side if len(np.unique(self._labels(run))) == 1])
        ]

    def _mcnemar(self) -> list[float]:
        if self._refusal():
            return []
        truth = self._truth()
        tests = (statistics.mcnemar_exact(*map(self._labels, runs), truth) for runs in zip(*self.sides, strict=True))
        return [test.p_value for test in tests if test.p_value is not None]

    def _truth(self) -> np.ndarray:
        return self.sides[0][0].predictions["label"].to_numpy(int)

    def _labels(self, run: FinishedRun) -> np.ndarray:
        # An answer that names no class is a class of its own that no item has.
        return run.predictions["predicted"].fillna(len(self.task.labels)).to_numpy(int)

    def _flags(self) -> list[str]:
        runs = [run.record for side in self.sides for run in side]
        checks = {
            "unequal_budget": [record["gradient_evaluations"] for record in runs],
            "unequal_batch": [record["global_batch_size"] for record in runs],
            "unequal_inputs": [record["inputs"] for record in runs],
            "mixed_code": [record["software"]["code"] for record in runs],
        }
        return [flag for flag, values in checks.items() if any(value != values[0] for value in values)]

    def _terms(self, flags: Sequence[str]) -> list[str]:
        """Return, in words, what was not equal."""

        def counts(key: str) -> str:
            each = (", ".join(str(n) for n in sorted({run.record[key] for run in side})) for side in self.sides)
            return " and ".join(f"{number} of {name}" for name, number in zip(self.names, each, strict=True))

        words = {
            "unequal_budget": lambda: f"different budgets ({counts('gradient_evaluations')} gradient evaluations)",
            "unequal_batch": lambda: f"different batches and so another order of data ({counts('global_batch_size')})",
            "unequal_inputs": lambda: "different base models or training data",
            "mixed_code": lambda: "different versions of dnatune's code",
        }
        return [f"Not at equal terms: {'; '.join(words[flag]() for flag in flags)}."] if flags else []

    def _left_out(self, reason: str | None) -> list[str]:
        lost = self._lost()
        if reason or not lost:
            return []
        return [f"This holds for runs that complete, {_seeds(self.seeds)}: {'; '.join(lost)}."]


def _effect_size(first: Sequence[float], second: Sequence[float], level: float) -> statistics.Interval:
    try:
        return statistics.effect_size(first, second, level)
    except ValueError as error:
        # scipy's noncentral t distribution is NaN in places, where the search for the limits stops.
        return statistics.Interval(None, None, None, level, f"its limits cannot be computed: {error}")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def comparison_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as the text of comparison.tsv."""
    return _text(COLUMNS, rows)


def tests_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as the text of tests.tsv."""
    return _text(TEST_COLUMNS, rows)


def _text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def confusion_of(group: Group) -> np.ndarray:
    """Return the confusion matrix summed over completed seeds [true class, predicted class + 1].

    The last column counts answers that name no class; it is 0 unless answers were decoded freely.
    """
    classes = len(group.completed[0].metrics["confusion"])
    total = np.zeros((classes, classes + 1), dtype=int)
    for run in group.completed:
        total[:, :-1] += np.array(run.metrics["confusion"], dtype=int)
        missing = run.predictions.loc[run.predictions["predicted"].isna(), "label"]
        total[:, -1] += np.bincount(missing.to_numpy(int), minlength=classes)
    return total


def reliability_of(group: Group, bins: int = 15, fewest: int = 10) -> pd.DataFrame:
    """Return confidence against accuracy over equal-width bins of confidence, seeds pooled.

    Args:
        group: runs of one optimizer.
        bins: number of bins, as in the expected calibration error.
        fewest: bins with fewer items are left out: their accuracy is mostly chance.

    Returns:
        Columns `confidence` and `accuracy` (means of the bin) and `items`; no rows without log-probabilities.
    """
    parts = []
    for run in group.completed:
        columns = [column for column in run.predictions.columns if column.startswith("logp_")]
        if columns:
            scores = run.predictions[columns].to_numpy(float)
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            confidence = odds.max(axis=1) / odds.sum(axis=1)
            correct = run.predictions["predicted"] == run.predictions["label"]
            parts.append(pd.DataFrame({"confidence": confidence, "accuracy": correct.astype(float)}))
    if not parts:
        return pd.DataFrame(columns=["confidence", "accuracy", "items"])
    items = pd.concat(parts)
    binned = items.groupby(np.minimum((items["confidence"] * bins).astype(int), bins - 1))
    table = binned.mean().assign(items=binned.size()).reset_index(drop=True)
    return table[table["items"] >= fewest]
