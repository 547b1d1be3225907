"""What was to be tested, as it was written down before any test score existed, and every departure from it."""

from collections.abc import Iterator, Mapping
from typing import Any

from dnatune.comparison.plan import Content, Plan
from dnatune.report import formatting
from dnatune.report.evidence import Evidence


def content(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section of the plans; None where there is none."""
    return {"plans": [_plan(plan, evidence) for plan in evidence.plans]} if evidence.plans else None


def cautions(evidence: Evidence) -> list[str]:
    """Return what must be read with care because it was decided late."""
    return [
        f"{evidence.title(plan.model, plan.task)}: {departure}"
        for plan in evidence.plans
        for departure in plan.departures()
    ]


def _plan(plan: Plan, evidence: Evidence) -> dict[str, Any]:
    content = plan.content
    scores = [(formatting.baseline_name(name), score) for name, score in content.dev_scores.items()]
    return {
        "title": evidence.title(plan.model, plan.task),
        "written": plan.versions[-1].written,
        "digest": plan.versions[-1].digest,
        "departures": plan.departures(),
        "metric": formatting.metric_name(content.metric),
        "control": formatting.baseline_name(content.control) if content.control else None,
        "scores": sorted(scores, key=lambda pair: (pair[1] is None, -(pair[1] or 0))),
        "facts": list(_facts(content)),
    }


def _facts(plan: Content) -> Iterator[tuple[str, str]]:
    yield "reference", plan.reference or "none: all pairs are compared"
    yield "confidence level", f"{plan.level:g}"
    yield "margin that does not matter", f"{plan.equivalence_margin:g}"
    yield "seeds", ", ".join(map(str, plan.seeds))
    for name, optimizer in plan.optimizers.items():
        ((measure, amount),) = optimizer["budget"].items()
        yield f"budget of {name}", f"{formatting.count(amount)} {measure.replace('_', ' ')}"
    yield "learning rates", "by trials on the dev split" if plan.tuning else "given"
