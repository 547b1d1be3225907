"""What the audit of each data set found, and the scores without leaked items."""

from collections.abc import Mapping, Sequence
from typing import Any

from dnatune.comparison.results import Group
from dnatune.data.leakage import Audit
from dnatune.data.manifests import Origin
from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.settings.tasks import Task

#: Share of test items with relatives in training above which a caution says so.
_MOST_RELATED = 0.05


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of what the splits of each task share."""
    audits = [
        _audit(task, evidence.audits[task.name], evidence.groups, evidence.rows)
        | {"origin": _origin(evidence.origins.data.get(task.name))}
        for task in evidence.tasks.values()
    ]
    return {"audits": audits}


def _origin(origin: Origin | None) -> dict[str, Any] | None:
    """Return how a user's own files were split; None of other data."""
    if origin is None or origin.manifest.split is None:
        return None
    split = origin.manifest.split
    return {**dict(split), "files": origin.manifest.origin, "words": list(split.classes["train"])}


def _audit(task: Task, audit: Audit, groups: Sequence[Group], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of one task's audit, and each optimizer's score with and without leaked test items."""
    pairs = [
        {
            "split": split,
            "other": other,
            **{kind: _number(found) for kind, found in kinds},
        }
        for split, others in audit.shared.items()
        for other, kinds in others.items()
    ]
    in_training = audit.shared["test"]["train"]
    scores = [row for _, row in zip(groups, rows, strict=False) if row["task"] == task.name]
    return {
        **dict(audit),
        "task": task.name,
        "metric": formatting.metric_name(task.metric),
        "pairs": pairs,
        "twins_found": _number(in_training.twins),
        "words_found": _number(in_training.shared_words),
        "leaked_items": len(audit.leaked["test"]),
        "scores": [row for row in scores if row["mean"] is not None and row["mean_without_leaked"] is not None],
    }


def cautions(evidence: Evidence) -> list[str]:
    """Return a caution for each task in which training has relatives of more than 5 % of the test items."""
    shares = [(name, evidence.audits[name].related_share) for name in evidence.tasks]
    return [
        f"Memory: {formatting.percent(share)} of the test items of {name} have a twin in training or share a word of"
        " 30 bp with it. A score there may be memory: the baseline memory of training, and the scores by segment, tell."
        for name, share in shares
        if share > _MOST_RELATED
    ]


def _number(rows: Sequence[int] | None) -> int | None:
    return None if rows is None else len(rows)
