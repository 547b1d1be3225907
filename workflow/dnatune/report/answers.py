"""The answer in sentences: who is best, by how much, how sure, better than its control or not, what did not learn."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from dnatune.comparison.results import Group
from dnatune.inference import FEWEST_SEEDS
from dnatune.report import formatting
from dnatune.report.standings import Against, Standing

_MOST_NAMED = 3
#: An AUROC from which a model that names one class alone is said to rank the items nevertheless.
_RANKS = 0.6
#: Why there is an interval and no test.
_RARE = "too few test items are of the rarest class"
_GOOD = ("better", "equivalent", "identical")


@dataclasses.dataclass(frozen=True)
class Line:
    """A sentence or several; `lead` is printed in bold before them."""

    lead: str
    rest: str


def first_line(standing: Standing, group: Group, metric: str, auroc: float | None, low: float | None) -> Line:
    """Return who is best and what it reached.

    Args:
        standing: of the optimizers on a task.
        group: the leader's runs.
        metric: the task's.
        auroc: the leader's mean.
        low: lower limit of the leader's mean; None where there is no interval.
    """
    values = group.values(metric)
    seeds = f"{formatting.in_word(len(values))} seed{'' if len(values) == 1 else 's'}"
    if len(values) > 1:
        seeds += f", {formatting.score(min(values))} to {formatting.score(max(values))}"
    ranks = "" if auroc is None else f", AUROC {formatting.two(auroc)}"
    reached = f"{formatting.metric_name(metric)} {formatting.score(standing.mean)} ({seeds}){ranks}."
    if metric == "mcc" and (standing.mean <= 0 if low is None else low <= 0):
        word = "learnt" if standing.mean <= 0 else "is shown to have learnt"
        return Line(f"No optimizer {word} the task.", f"{standing.leader} scores highest: {reached}")
    return Line(f"{leading(standing, 'learnt the task best')}:", reached)


def leading(standing: Standing, best: str) -> str:
    """Return who leads, and whether it is better than its control.

    Args:
        standing: of the optimizers.
        best: what is said of an optimizer that is better than each other.
    """
    rivals = standing.rivals
    words = [one.verdict for one in rivals]
    alike = [one.other for one in rivals if one.verdict in ("equivalent", "identical")]
    if not rivals:
        said = f"{standing.leader} is the only optimizer with a score"
    elif all(word == "better" for word in words):
        said = f"{standing.leader} {best}"
    elif all(word in _GOOD for word in words):
        said = (
            f"{formatting.listed([standing.leader, *alike])} {'both' if len(alike) == 1 else 'all'} did best, and alike"
        )
    elif any(one.few for one in rivals):
        said = f"{standing.leader} scores highest, but {formatting.in_word(len(rivals[0].each))} seed"
        said += f"{'' if len(rivals[0].each) == 1 else 's'} cannot show that it is better"
    else:
        open_ = [one.other for one in rivals if one.verdict not in _GOOD]
        names = formatting.listed(open_) if len(open_) < _MOST_NAMED else f"{len(open_)} of {len(rivals)} others"
        said = f"{standing.leader} scores highest, but is not shown to be better than {names}"
    return said + _control_in_lead(standing.control, " but" in said)


def _control_in_lead(control: Against | None, doubtful: bool) -> str:
    if control is None:
        return ""
    if control.verdict == "better":
        return "; it beats the best control" if doubtful else " and beats the best control"
    if control.verdict == "worse" or (control.few and max(control.each) < 0):
        return (
            f"{';' if doubtful else ', but'} the best control, {formatting.baseline_name(control.other)}, scores higher"
        )
    if control.few and min(control.each) > 0:
        return ""
    return f"{';' if doubtful else ', but'} it is not shown to beat the best control"


def rivals_line(standing: Standing, margin: float) -> str:
    """Return how far the leader is ahead of the others, and how sure that is; empty where there are none."""
    rivals = standing.rivals
    few = [one for one in rivals if one.few]
    sentences = [
        _ahead([one for one in rivals if one.verdict == "better"]),
        _alike(
            [one.other for one in rivals if one.verdict == "identical"], standing.leader, "every prediction is the same"
        ),
        _alike(
            [one.other for one in rivals if one.verdict == "equivalent"],
            standing.leader,
            f"they differ by less than {margin:g}",
        ),
        _open([one for one in rivals if one.verdict == "inconclusive" and one.tested]),
        _approximate([one for one in rivals if one.approximate]),
        _behind([one.other for one in rivals if one.verdict == "worse"]),
        _few_seeds(few, "It"),
        _unknown([one for one in rivals if not (one.tested or one.few or one.approximate)]),
    ]
    return " ".join(filter(None, sentences))


def _ahead(found: Sequence[Against]) -> str:
    if not found:
        return ""
    named = [f"of {one.other} by {formatting.amount(one.gap, one.low, one.high)}" for one in found[:_MOST_NAMED]]
    rest = found[_MOST_NAMED:]
    if rest:
        # Those that are behind by more are the less interesting ones.
        named.append(f"of {formatting.in_word(len(rest))} other{'s' if len(rest) > 1 else ''} by more")
    return f"It is ahead {formatting.listed(named)}."


def _alike(names: Sequence[str], leader: str, meaning: str) -> str:
    if not names:
        return ""
    return (
        f"{formatting.listed([leader, *names])} are {'identical' if 'every' in meaning else 'equivalent'}: {meaning}."
    )


def _open(found: Sequence[Against]) -> str:
    if not found:
        return ""
    named = [f"over {one.other} ({formatting.amount(one.gap, one.low, one.high)})" for one in found[:_MOST_NAMED]]
    if len(found) > _MOST_NAMED:
        named.append(f"over {formatting.in_word(len(found) - _MOST_NAMED)} more")
    sizes = [one.detectable for one in found if one.detectable is not None and math.isfinite(one.detectable)]
    could = f"; a lead of {formatting.amount(max(sizes))} would have shown" if sizes else ""
    return f"Its lead{'s' if len(found) > 1 else ''} {formatting.listed(named)} may be chance{could}."


def _approximate(found: Sequence[Against]) -> str:
    if not found:
        return ""
    named = [f"{one.other} (about {formatting.amount(one.gap, one.low, one.high)})" for one in found[:_MOST_NAMED]]
    if len(found) > _MOST_NAMED:
        named.append(f"{formatting.in_word(len(found) - _MOST_NAMED)} more")
    return f"Its difference to {formatting.listed(named)} is not tested: {_RARE}."


def _behind(names: Sequence[str]) -> str:
    """Return who is better on the seeds that both completed, although its mean over its own seeds is lower."""
    return f"On the seeds that both completed it is behind {formatting.listed(names)}." if names else ""


def _few_seeds(found: Sequence[Against], subject: str) -> str:
    """Return what one or two seeds can say."""
    if not found:
        return ""
    number = len(found[0].each)
    named = [
        f"{formatting.amount(abs(one.gap))} {'above' if one.gap >= 0 else 'below'} {one.other}{_models(one)}"
        for one in found[:_MOST_NAMED]
    ]
    if len(found) > _MOST_NAMED:
        named.append(f"further above {formatting.in_word(len(found) - _MOST_NAMED)} more")
    said = f"{formatting.in_word(number)} seed{'s give' if number > 1 else ' gives'} no interval"
    return f"{subject} scores {formatting.listed(named)}; {said}, {formatting.in_word(FEWEST_SEEDS)} would."


def _models(one: Against) -> str:
    """Return whether the leader is ahead with every seed, and whether the trained models differ beyond chance."""
    same = all(value > 0 for value in one.each) or all(value < 0 for value in one.each)
    if len(one.each) > 1 and not same:
        return " (not with each seed)"
    beyond = one.mcnemar and len(one.mcnemar) == len(one.each) and max(one.mcnemar) < 0.05
    models = "these models differ" if beyond else "these models may be equally good"
    return f" ({'with both seeds; ' if len(one.each) > 1 else ''}{models})"


def _unknown(found: Sequence[Against]) -> str:
    if not found:
        return ""
    withheld = [one.other for one in found if one.verdict == "withheld"]
    open_ = [one.other for one in found if one.verdict != "withheld"]
    parts = [f"No difference to {formatting.listed(withheld)} can be given: all give one answer"] if withheld else []
    parts += [f"it could not be compared with {formatting.listed(open_)}"] if open_ else []
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def control_line(standing: Standing, ceiling: float | None, base: float | None) -> str:
    """Return how the leader stands beside its control, the base model and what could be reached.

    Args:
        standing: of the optimizers.
        ceiling: the score of the Bayes optimum; None where it is not known.
        base: the score of the base model without fine-tuning; None where it was not asked.
    """
    control = standing.control
    parts = ["No control was scored, so it is not known whether a simple classifier does as well"]
    if control is not None:
        parts = [_against_control(control)]
    if base is not None:
        parts.append(f"without fine-tuning the base model scores {formatting.score(base)}")
    if ceiling is not None:
        parts.append(f"a perfect classifier would reach {formatting.score(ceiling)}")
    return f"{'; '.join(parts)}."


def _against_control(control: Against) -> str:
    name = formatting.baseline_name(control.other)
    score = "" if control.other_mean is None else f" ({formatting.score(control.other_mean)})"
    said = f"Against the best control, {name}{score}"
    size = formatting.amount(control.gap, control.low, control.high)
    if control.verdict == "identical":
        return f"{said}, it makes the same predictions"
    if control.verdict == "better":
        return f"{said}, it is ahead by {size}"
    if control.verdict == "worse":
        shown = formatting.amount(-control.gap, *(None if end is None else -end for end in (control.high, control.low)))
        return f"{said}, it is behind by {shown}"
    if control.verdict == "equivalent":
        return f"{said}, it makes no difference that matters: {size}"
    if control.approximate:
        return f"{said}, its difference of about {size} is not tested, because {_RARE}"
    if control.tested:
        could = "" if control.detectable is None else f"; {formatting.amount(control.detectable)} would have shown"
        return f"{said}, its difference of {size} may be chance{could}"
    if control.each:
        where = "above" if control.gap >= 0 else "below"
        return f"{said}, it scores {formatting.amount(abs(control.gap))} {where}, too few seeds to be sure"
    return f"{said}, it could not be compared"


def not_learnt(groups: Sequence[Group]) -> str:
    """Return what did not learn, as what it is; empty where all learnt something."""
    return " ".join([*_one_class(groups), *_lost(groups)])


def _one_class(groups: Sequence[Group]) -> Iterator[str]:
    constant: dict[int, list[Group]] = {}
    for group in groups:
        if group.completed and group.one_class == len(group.completed):
            constant.setdefault(group.completed[0].record.gradient_evaluations, []).append(group)
        elif group.one_class:
            share = f"{group.one_class} of {len(group.completed)} runs"
            yield f"{group.optimizer} gives one answer to every item in {share}."
    for evaluations, found in constant.items():
        names = formatting.listed(group.optimizer for group in found)
        said = (
            f"{names} give{'s' if len(found) == 1 else ''} one answer to every item after"
            f" {formatting.count(evaluations)} gradients: train longer or search other rates"
        )
        ranks = [float(np.mean(values)) for group in found if (values := group.values("auroc"))]
        if ranks and max(ranks) >= _RANKS:
            said += (
                f" (AUROC {formatting.listed(map(formatting.two, ranks))}: the order is learnt, the threshold is not)"
            )
        yield f"{said}."


def _lost(groups: Sequence[Group]) -> Iterator[str]:
    lost = [group.optimizer for group in groups if not group.completed]
    if lost and len(lost) < len(groups):
        yield f"{formatting.listed(lost)} diverged in every run: lower the rate."


def over_all(standing: Standing, tasks: Sequence[str], margin: float, model: str | None) -> Line:
    """Return who is best over several tasks of one metric; `model` is named where there are several."""
    number = f"{formatting.in_word(len(tasks))} tasks{'' if model is None else f' with {model}'}"
    lead = leading(standing, "is best")
    return Line(
        f"Over {number}, {lead}:", f"mean {formatting.score(standing.mean)}. {rivals_line(standing, margin)}".strip()
    )
