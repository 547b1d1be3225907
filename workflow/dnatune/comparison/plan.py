"""plan.json: what will be tested on a model and task, written before any test score exists, and every later change."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from dnatune.comparison.controls import choose_control
from dnatune.contracts import Record
from dnatune.files import digest
from dnatune.settings.plan import PlanSettings


class Content(Record):
    """What a plan fixes."""

    metric: str
    """Primary metric, which alone decides the verdicts."""
    reference: str | None
    """Optimizer with which each other one is compared; `null` if all pairs are compared."""
    level: float
    """Confidence level of every interval."""
    equivalence_margin: float
    """Largest difference of the primary metric that does not matter."""
    seeds: list[int]
    """Seeds of each optimizer."""
    optimizers: dict[str, Any]
    """Method, budget, training and hyperparameters of each optimizer."""
    lora: dict[str, Any]
    """The adapter."""
    tuning: dict[str, Any] | None
    """The search for learning rates; `null` without one."""
    dev_scores: dict[str, float | None]
    """Primary metric of each control on the dev split; `null` if the control cannot be applied to the task."""
    control: str | None
    """Control with the best dev score, with which each optimizer is compared; `null` if no control applies."""


class Version(Record):
    """A version of the plan."""

    written: str
    """When it was written, UTC."""
    digest: str
    """Digest of its content, 16 hexadecimal digits of its SHA-256."""
    test_scores: int
    """Number of test scores of the model and task that existed then, of optimizers and of controls."""
    changes: list[str]
    """How it differs from the version before, one key per entry."""
    content: Content
    """What it fixes."""


class Plan(Record):
    """plan.json: every version of the plan of a model and task, the last of which is in force.

    The file is not an output of a rule, because Snakemake deletes outputs before it makes them again.
    """

    remedy: ClassVar[str] = "restore it from a backup, or delete it: the plan then counts as written now"

    model: str
    """Name of the base model."""
    task: str
    """Name of the task."""
    versions: list[Version]
    """Every version, the oldest first."""

    @property
    def content(self) -> Content:
        """Return the content in force."""
        return self.versions[-1].content

    def departures(self) -> list[str]:
        """Return, in sentences, what was decided after test scores existed."""
        first, *later = self.versions
        late = f"The plan was written when test scores already existed ({first.test_scores})."
        return ([late] if first.test_scores else []) + [
            f"On {one.written}, when {one.test_scores} test scores existed, the plan was changed: "
            f"{'; '.join(one.changes)}."
            for one in later
            if one.test_scores
        ]


def content_of(settings: PlanSettings, dev_scores: Mapping[str, float | None]) -> Content:
    """Return the content of a plan.

    Args:
        settings: what is compared.
        dev_scores: the primary metric of each control on the dev split; None where a control cannot be applied.
    """
    comparison = settings.comparison
    return Content(
        metric=settings.metric,
        reference=comparison.reference,
        level=comparison.level,
        equivalence_margin=comparison.equivalence_margin,
        seeds=list(settings.seeds),
        optimizers={name: one.compared() for name, one in settings.optimizers.items()},
        lora=settings.lora.compared(),
        tuning=settings.tuning.compared() if settings.tuning else None,
        dev_scores=dict(dev_scores),
        control=choose_control(dev_scores, settings.metric),
    )


def revise(path: Path, model: str, task: str, content: Content, test_scores: int) -> Plan:
    """Return the plan with a content, which is a new version unless the last one has the same; the file is written.

    Args:
        path: plan.json; made if it is missing.
        model, task: names.
        content: what the plan fixes now.
        test_scores: number of test scores that exist.

    Raises:
        DataError: the file is damaged.
    """
    versions = Plan.read(path).versions if path.exists() else []
    mark = digest(content.model_dump(mode="json"))
    if versions and versions[-1].digest == mark:
        return Plan(model=model, task=task, versions=versions)
    changes = list(_changes(versions[-1].content.model_dump(), content.model_dump())) if versions else []
    now = datetime.now(UTC).isoformat(" ", "seconds")
    version = Version(written=now, digest=mark, test_scores=test_scores, changes=changes, content=content)
    plan = Plan(model=model, task=task, versions=[*versions, version])
    plan.write(path)
    return plan


def _changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield what differs between two nested maps, by dotted key."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from _changes(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif after is None and isinstance(before, dict):
        # The versions of the plan hold what it was; in words it would fill the page.
        yield f"{path}: removed"
    elif before is None and isinstance(after, dict):
        yield f"{path}: added"
    elif before != after:
        yield f"{path}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
