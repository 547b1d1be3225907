"""Scores by segments of the test split: where a model is good, and where its mean hides that it is not."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnatune.comparison.results import FinishedRun, Group
from dnatune.comparison.summary import table_text
from dnatune.data.leakage import Audit
from dnatune.data.records import Split, read_split
from dnatune.data.sequences import gc_content
from dnatune.errors import ConfigurationError
from dnatune.evaluation import metrics
from dnatune.settings.tasks import Task

#: The columns of segments.tsv, in their order.
SEGMENT_COLUMNS = ("model", "task", "optimizer", "segment", "items", "seeds", "metric", "score", "accuracy")


@dataclasses.dataclass(frozen=True)
class Segment:
    """Some of a task's test items.

    Attributes:
        name: in words.
        items: their ids.
    """

    name: str
    items: np.ndarray


def segments_of(test: Split, audit: Audit, task: Task) -> list[Segment]:
    """Return the segments of a test split that have items: thirds by GC content, classes, relatives and none.

    Sequences of the same GC content stand in the same third, so that the thirds need not be of one size.

    Args:
        test: the test split; an item's id is its place there.
        audit: the task's audit.
        task: for its labels.
    """
    share = np.array([gc_content(sequence) for sequence in test.sequences])
    lower, upper = np.quantile(share, [1 / 3, 2 / 3]) if len(share) else (0.0, 0.0)
    truth = np.array(test.labels)
    found = {
        f"GC up to {lower:.0%}": share <= lower,
        f"GC {lower:.0%} to {upper:.0%}": (share > lower) & (share <= upper),
        f"GC above {upper:.0%}": share > upper,
        **{f"class {label}": truth == index for index, label in enumerate(task.labels)},
    }
    for rows, names in (
        (audit.leaked["test"], ("in an earlier split", "in no earlier split")),
        (audit.related["twins"], ("with a twin in training", "without a twin in training")),
        (audit.related["shared_words"], ("shares a word of 30 bp with training", "shares no such word")),
    ):
        if rows:
            chosen = np.isin(np.arange(len(test)), rows)
            found |= dict(zip(names, (chosen, ~chosen), strict=True))
    return [Segment(name, np.flatnonzero(chosen)) for name, chosen in found.items() if chosen.any()]


def read_segments(
    paths: Sequence[Path], tasks: Mapping[str, Task], audits: Mapping[str, Audit]
) -> dict[str, list[Segment]]:
    """Return the segments of each task's test split.

    Args:
        paths: test.jsonl, one a task, in their order.
        tasks: the tasks by name.
        audits: audit.json by task.

    Raises:
        ConfigurationError: not one file a task.
        DataError: a file is missing or no records.
    """
    if len(paths) != len(tasks):
        raise ConfigurationError(
            f"{len(paths)} files of {len(tasks)} tasks",
            where="command line, --test-records",
            fix="name one for every task, in their order",
        )
    found = {}
    for path, task in zip(paths, tasks.values(), strict=True):
        found[task.name] = segments_of(read_split(path, task.labels), audits[task.name], task)
    return found


def segments_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as the text of segments.tsv."""
    return table_text(SEGMENT_COLUMNS, rows)


def segment_rows(
    groups: Sequence[Group], tasks: Mapping[str, Task], segments: Mapping[str, Sequence[Segment]]
) -> list[dict[str, Any]]:
    """Return the rows of segments.tsv: one a group and segment; None is an empty cell.

    A score that is not defined is left empty: that of a segment whose items are all of one class.

    Args:
        groups: the runs.
        tasks: the tasks by name.
        segments: of each task's test split.
    """
    rows = []
    for group in groups:
        task = tasks[group.task]
        for segment in segments[group.task]:
            scored = [_score(run, segment, task) for run in group.completed]
            values = [values for values in scored if values is not None]
            whole = values and all(score is not None for score, _ in values)
            rows.append(
                {
                    "model": group.model,
                    "task": group.task,
                    "optimizer": group.optimizer,
                    "segment": segment.name,
                    "items": len(segment.items),
                    "seeds": len(values),
                    "metric": task.metric,
                    "score": float(np.mean([score for score, _ in values])) if whole else None,
                    "accuracy": float(np.mean([accuracy for _, accuracy in values])) if values else None,
                }
            )
    return rows


def _score(run: FinishedRun, segment: Segment, task: Task) -> tuple[float | None, float] | None:
    """Return the task's metric and the accuracy of a run on a segment; None where it has no item of it."""
    part = run.predictions[run.predictions["id"].isin(segment.items)]
    if part.empty:
        return None
    truth = part["label"].to_numpy(int).tolist()
    predicted = [None if np.isnan(value) else int(value) for value in part["predicted"]]
    if len(set(truth)) == 1:
        return None, float(np.mean([guess == label for guess, label in zip(predicted, truth, strict=True)]))
    found = metrics.from_predictions(truth, predicted, len(task.labels))
    return found.score(task.metric), found.accuracy
