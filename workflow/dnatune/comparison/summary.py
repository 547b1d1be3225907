"""comparison.tsv: what each optimizer reached, and at what cost."""

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any

import pandas as pd

from dnatune import inference
from dnatune.comparison import comparability
from dnatune.comparison.results import AVERAGED, Baseline, FinishedRun, Group
from dnatune.data.leakage import Audit
from dnatune.evaluation import metrics
from dnatune.settings.tasks import Task

#: The columns of comparison.tsv, in their order.
COLUMNS = (
    "model",
    "task",
    "optimizer",
    "head",
    "status",
    "seeds",
    "one_class",
    "metric",
    "mean",
    "standard_deviation",
    "low",
    "high",
    "leaked_items",
    "mean_without_leaked",
    "accuracy",
    "mcc",
    "f1_macro",
    "auroc",
    "brier",
    "ece",
    "steps",
    "gradient_evaluations",
    "epochs",
    "global_batch_size",
    "wall_seconds",
    "gpu_seconds",
    "flags",
)


def comparison_rows(
    groups: Sequence[Group],
    baselines: Iterable[Baseline],
    tasks: Mapping[str, Task],
    audits: Mapping[str, Audit],
    level: float,
    seen_before: Collection[tuple[str, str]] = (),
    searches: Mapping[tuple[str, str, str], Sequence[str]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Return the rows of comparison.tsv: one a group, then one a baseline; None is an empty cell.

    Means are over completed seeds. A metric that one of them lacks is left empty rather than averaged over the others.

    Args:
        groups, baselines, tasks: what is compared.
        audits: audit.json by task.
        level: confidence level of the interval of a mean.
        seen_before: (model, task) of base models that probably saw the task's test split.
        searches: flags that the learning-rate trials raise, by model, task and optimizer.
    """
    flags = _flags(groups)
    for group, words in zip(groups, flags, strict=True):
        words += searches.get((group.model, group.task, group.optimizer), [])
        words += ["seen_before"] if (group.model, group.task) in seen_before else []
    rows = [
        _row(group, tasks[group.task], audits[group.task].leaked["test"], level, flags[index])
        for index, group in enumerate(groups)
    ]
    return [*rows, *(_baseline_row(baseline, tasks[baseline.task].metric) for baseline in baselines)]


def _row(group: Group, task: Task, leaked: Sequence[int], level: float, flags: list[str]) -> dict[str, Any]:
    metric = task.metric
    diverged = len(group.runs) - len(group.completed)
    values = group.values(metric)
    interval = inference.seed_interval(values, level)
    costs = group.accountable
    return {
        "model": group.model,
        "task": group.task,
        "optimizer": group.optimizer,
        "head": group.head,
        "status": f"diverged {diverged} of {len(group.runs)}" if diverged else "completed",
        "seeds": len(group.runs),
        "one_class": group.one_class,
        "metric": metric,
        "mean": _mean(values),
        "standard_deviation": stdev(values) if len(values) > 1 else None,
        "low": interval.low,
        "high": interval.high,
        "leaked_items": len(leaked),
        "mean_without_leaked": _mean(_values_without(group, leaked, task)),
        **{key: _mean(group.values(key)) for key in AVERAGED},
        **{key: _same(costs, key) for key in ("steps", "gradient_evaluations", "epochs", "global_batch_size")},
        **{key: _mean([getattr(run.record, key) for run in costs]) for key in ("wall_seconds", "gpu_seconds")},
        "flags": " ".join(flags),
    }


def _values_without(group: Group, leaked: Sequence[int], task: Task) -> list[float]:
    """Return the task's metric of the completed runs over the test items that were in no earlier split."""
    values = []
    for run in group.completed:
        kept = run.predictions[~run.predictions["id"].isin(leaked)]
        predicted = [None if pd.isna(value) else int(value) for value in kept["predicted"]]
        if not predicted:
            return []
        values.append(metrics.from_predictions(kept["label"].tolist(), predicted, len(task.labels)).score(task.metric))
    return [] if None in values else values


def _baseline_row(baseline: Baseline, metric: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(COLUMNS),
        "model": baseline.model or "baseline",
        "task": baseline.task,
        "optimizer": baseline.name,
        "status": baseline.metrics.status if baseline.applies else f"not applicable: {baseline.metrics.reason}",
        "metric": metric,
        "mean": baseline.metrics.score(metric),
        **{key: baseline.metrics.score(key) for key in AVERAGED},
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _same(runs: Sequence[FinishedRun], key: str) -> float | str:
    values = {getattr(run.record, key) for run in runs}
    return values.pop() if len(values) == 1 else "mixed"


def _flags(groups: Sequence[Group]) -> list[list[str]]:
    """Return the flags of each group.

    Budgets are compared over completed runs: a diverged run stopped early for another reason, which its own flag says.
    """
    codes = {run.record.software.code for group in groups for run in group.runs}
    flags = []
    for group in groups:
        peers = [peer for peer in groups if (peer.model, peer.task) == (group.model, group.task)]
        runs = [run.record for peer in peers for run in peer.runs]
        found = comparability.unequal(runs, [record for record in runs if record.diverged is None])
        if len(codes) > 1 and "mixed_code" not in found:
            found.append("mixed_code")
        lost = ["diverged"] if len(group.completed) < len(group.runs) else []
        flags.append([*found, *lost, *(["one_class"] if group.one_class else [])])
    return flags


def comparison_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as the text of comparison.tsv."""
    return table_text(COLUMNS, rows)


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as TSV; None is an empty cell."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
