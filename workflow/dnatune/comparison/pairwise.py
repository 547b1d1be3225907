"""What the runs say of each pair of optimizers, and of each optimizer against its control, in numbers and in words."""

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from dnatune import inference
from dnatune.comparison import comparability
from dnatune.comparison.contenders import Contender, Pair
from dnatune.comparison.pair_sentences import sentence
from dnatune.comparison.results import Baseline, Group
from dnatune.comparison.verdict_rows import VerdictRow
from dnatune.settings.scoring import Comparison
from dnatune.settings.tasks import Task

#: Metrics beside the task's own, in their order; each has a Holm family of its own and makes no headline.
SECONDARY = ("auroc", "log_loss")


def metrics_of(task: Task) -> tuple[str, ...]:
    """Return the task's metric and, after it, those that are secondary."""
    return (task.metric, *(metric for metric in SECONDARY if metric != task.metric))


@dataclasses.dataclass(frozen=True)
class Tested:
    """A pair by one metric, before its p-value is adjusted."""

    model: str
    pair: Pair
    metric: str
    role: Literal["primary", "secondary"]
    comparison: Literal["optimizers", "control"]
    found: inference.PairedDifference


def pair_rows(
    groups: Sequence[Group],
    tasks: Mapping[str, Task],
    testing: Comparison,
    controls: Mapping[tuple[str, str], Baseline] | None = None,
    clusters: Mapping[str, np.ndarray] | None = None,
) -> list[VerdictRow]:
    """Return the rows of tests.tsv: of each task, then over all tasks of one metric.

    Every pair of optimizers of one model has a row per metric, and every optimizer another against its control. The
    p-values of a task and metric, whatever their models, are adjusted for their number together: those of pairs of
    optimizers, or with `testing.reference` those of the pairs with the reference, and by themselves those of controls.

    Args:
        groups: the runs.
        tasks: the tasks by name.
        testing: level, margin, reference.
        controls: by (model, task), chosen before any test score was read; none where there is none.
        clusters: by task, the cluster of each test item, which has one number in all tasks; None if items are
            independent.

    Raises:
        ConfigurationError: the level or the margin is out of range.
    """
    known = {
        (group.model, group.task, group.optimizer): Contender.of_group(group, tasks[group.task]) for group in groups
    }
    fixed = {key: Contender.of_baseline(one, tasks[one.task]) for key, one in (controls or {}).items()}
    rows: list[VerdictRow] = []
    for names, left_out in _scopes(tasks, known.values(), clusters):
        ids = None if clusters is None else np.concatenate([clusters[name] for name in names])
        optimizers = _on_all(known, names)
        pairs = [
            (a[0], Pair(optimizers[a], optimizers[b], ids, left_out))
            for a, b in itertools.combinations(optimizers, 2)
            if a[0] == b[0]
        ]
        against = [
            (model, Pair(one, tuple(fixed[model, name] for name in names), ids, left_out))
            for (model, _), one in optimizers.items()
            if all((model, name) in fixed for name in names)
        ]
        for metric in metrics_of(tasks[names[0]]):
            rows += _family(pairs, metric, tasks[names[0]], testing, "optimizers")
            rows += _family(against, metric, tasks[names[0]], testing, "control")
    return rows


def _scopes(
    tasks: Mapping[str, Task], known: Collection[Contender], clusters: Mapping[str, np.ndarray] | None
) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Yield each task; then, per metric, the tasks that are averaged, and in words those that are left out.

    A task with too few test items of its rarest class is left out if two others remain; the labels alone decide that.
    """
    by_metric: dict[str, dict[str, str | None]] = {}
    for task in tasks.values():
        yield [task.name], ()
        scored = next((one for one in known if one.task == task and one.truth is not None), None)
        measured = None if scored is None else scored.measured(task.metric)
        own = None if clusters is None else clusters[task.name]
        rarest = None if measured is None else inference.fewest(measured.classes, own)
        by_metric.setdefault(task.metric, {})[task.name] = None if rarest is None else rarest.too_few(own)
    for reasons in by_metric.values():
        kept = [name for name, reason in reasons.items() if reason is None]
        if len(kept) > 1:
            yield kept, tuple(f"{name} ({reason})" for name, reason in reasons.items() if reason)
        elif len(reasons) > 1:
            yield list(reasons), ()


def _on_all(
    known: Mapping[tuple[str, str, str], Contender], names: Sequence[str]
) -> dict[tuple[str, str], tuple[Contender, ...]]:
    """Return, by model and optimizer, those that ran on all of some tasks."""
    places = dict.fromkeys((model, optimizer) for model, task, optimizer in known if task == names[0])
    return {
        (model, optimizer): tuple(known[model, name, optimizer] for name in names)
        for model, optimizer in places
        if all((model, name, optimizer) in known for name in names)
    }


def _family(
    pairs: Sequence[tuple[str, Pair]],
    metric: str,
    task: Task,
    testing: Comparison,
    comparison: Literal["optimizers", "control"],
) -> list[VerdictRow]:
    """Test pairs by one metric, adjust their p-values together and return their rows."""
    role: Literal["primary", "secondary"] = "primary" if metric == task.metric else "secondary"
    tested = [
        Tested(model, pair, metric, role, comparison, _tested(pair, metric, testing.level)) for model, pair in pairs
    ]
    adjusted = inference.holm([one.found.p_value for one in tested])
    size = sum(p is not None for p in adjusted)
    if comparison == "control":
        return [_row(one, p, "control", size, testing) for one, p in zip(tested, adjusted, strict=True)]
    if testing.reference is None:
        return [_row(one, p, "all", size, testing) for one, p in zip(tested, adjusted, strict=True)]
    chosen = [testing.reference in one.pair.names for one in tested]
    own = inference.holm([one.found.p_value if is_own else None for one, is_own in zip(tested, chosen, strict=True)])
    own_size = sum(p is not None for p in own)
    return [
        _row(one, p, "reference", own_size, testing) if is_own else _row(one, p_of_all, "rest", size, testing)
        for one, p, p_of_all, is_own in zip(tested, own, adjusted, chosen, strict=True)
    ]


def _tested(pair: Pair, metric: str, level: float) -> inference.PairedDifference:
    """Return the difference of a pair; where it cannot be tested, its reason names the lost seeds too."""
    found = inference.infer(pair.difference(metric), pair.clusters, level)
    if found.interval.reason is None:
        return found
    reason = "; ".join([found.interval.reason, *pair.lost])
    return dataclasses.replace(found, interval=dataclasses.replace(found.interval, reason=reason))


def _row(
    tested: Tested,
    adjusted_p: float | None,
    family: Literal["all", "reference", "rest", "control"],
    size: int,
    testing: Comparison,
) -> VerdictRow:
    """Return a row; `size` is the number of tests that were adjusted together."""
    pair, found, metric = tested.pair, tested.found, tested.metric
    names, same, margin = pair.names, pair.identical, testing.equivalence_margin if tested.role == "primary" else None
    shown = pair.shown
    verdict = inference.identical(shown) if same else inference.verdict(found, margin, adjusted_p, shown)
    needed = None if margin is None else inference.seeds_needed(found, margin, comparisons=max(1, size))
    values = pair.values(metric)
    improvement, effect = _over_seeds(pair, metric, values, testing.level)
    reason = None if same else found.interval.reason
    reasons = {
        "verdict": reason if same else reason or found.untested,
        "improvement": improvement.reason,
        "effect size": effect.reason,
    }
    runs = [run for side in pair.runs() for run in side]
    flags = comparability.unequal(runs, runs) if tested.comparison == "optimizers" else []
    means = [float(np.mean(side)) if side else None for side in values]
    return VerdictRow(
        model=tested.model,
        tasks=pair.tasks,
        first=names[0],
        second=names[1],
        comparison=tested.comparison,
        metric=metric,
        role=tested.role,
        verdict=verdict.word,
        within_margin=verdict.within_margin,
        family=family,
        family_size=size,
        seeds=pair.seeds,
        first_mean=means[0],
        second_mean=means[1],
        first_values=values[0],
        second_values=values[1],
        difference=found.interval.estimate,
        low=found.interval.low,
        high=found.interval.high,
        p_value=found.p_value,
        adjusted_p=adjusted_p,
        detectable=inference.detectable_difference(found, comparisons=max(1, size)),
        items=found.items,
        clusters=found.clusters,
        limiting=found.limiting,
        mcnemar_p=pair.mcnemar(),
        improvement=improvement.estimate,
        improvement_low=improvement.low,
        improvement_high=improvement.high,
        effect_size=effect.estimate,
        effect_size_low=effect.low,
        effect_size_high=effect.high,
        seeds_needed=needed.seeds if needed else None,
        power=needed.power_now if needed else None,
        level=testing.level,
        equivalence_margin=margin,
        flags=tuple(flags),
        withheld="; ".join(f"{name}: {words}" for name, words in reasons.items() if words),
        sentence=sentence(pair, metric, verdict, reason, flags),
        seeds_sentence=needed.sentence if needed else "",
    )


def _over_seeds(
    pair: Pair, metric: str, values: tuple[tuple[float, ...], tuple[float, ...]], level: float
) -> tuple[inference.Interval, inference.Interval]:
    """Return probability of improvement and effect size; a positive one speaks for the first."""
    if not values[0]:
        reason = pair.difference(metric).reason
        refused = inference.Interval(None, None, None, level, reason)
        return refused, refused
    sign = -1 if metric in inference.LOWER_IS_BETTER else 1
    sides = [[sign * value for value in side] for side in values]
    return inference.probability_of_improvement(*sides, level), inference.effect_size(*sides, level)
