"""The optimizers over all tasks."""

from collections.abc import Mapping
from typing import Any

from dnatune.comparison import across_tasks
from dnatune.report import panels
from dnatune.report.evidence import Evidence
from dnatune.report.figures.base import looks_for
from dnatune.report.figures.scores import profile_chart


def content(evidence: Evidence) -> Mapping[str, Any] | None:
    """Return the section of optimizers over all tasks; None where there is one task."""
    if len(evidence.tasks) < 2:
        return None
    scores: dict[tuple[str, str], dict[str, list[float | None]]] = {}
    for group in evidence.groups:
        values = group.values(evidence.tasks[group.task].metric)
        if values:
            lost: list[float | None] = [None] * (len(group.runs) - len(values))
            values = [*values, *lost]
        scores.setdefault((group.model, group.optimizer), {})[group.task] = values
    kept = {
        key: [found[task] for task in evidence.tasks]
        for key, found in scores.items()
        if all(found.get(task) for task in evidence.tasks)
    }
    left_out = [evidence.called(*key) for key in scores if key not in kept]
    named = {evidence.called(*key): found for key, found in kept.items()}
    if not named:
        return {"standings": [], "profiles": None, "left_out": left_out, "level": None, "tasks": len(evidence.tasks)}
    standings = across_tasks.standings(named, evidence.settings.comparison.level)
    places = list(evidence.tasks)
    withheld = [
        f"{standing.name} ({', '.join(places[place] for place in standing.short)})"
        for standing in standings
        if standing.short
    ]
    looks = looks_for(evidence.called(*key) for key in scores)
    profiles = across_tasks.profiles(named)
    drawing = profile_chart(profiles, "score: the metric of each task", looks)
    return {
        "standings": standings,
        "withheld": withheld,
        "fewest": across_tasks.FEWEST_SEEDS,
        "profiles": panels.single("profiles", drawing),
        "left_out": left_out,
        "level": evidence.settings.comparison.level,
        "tasks": len(evidence.tasks),
    }
