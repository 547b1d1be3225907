"""The sentence of a pair: its verdict, with what is known where there is no interval and what was not equal."""

from collections.abc import Sequence
from statistics import fmean

from dnatune import inference
from dnatune.comparison.contenders import Pair, seeds_in_words


def sentence(pair: Pair, metric: str, verdict: inference.Verdict, reason: str | None, flags: Sequence[str]) -> str:
    """Return the verdict in words.

    Args:
        pair, metric: what was compared.
        verdict: on them.
        reason: why there is no interval; None if there is one.
        flags: what was not equal.
    """
    said = verdict.sentence
    if verdict.word == "withheld":
        said = said.removesuffix(".") + f"{_aurocs(pair)}."
    elif verdict.word != "identical" and 0 < len(pair.seeds) < inference.FEWEST_SEEDS and all(pair.values(metric)):
        said = _few_seeds(pair, metric)
    elif reason is None and len(pair.tasks) > 1:
        said += f" This is the mean over {len(pair.tasks)} tasks: {', '.join(pair.tasks)}."
        said += f" Left out: {'; '.join(pair.left_out)}." if pair.left_out else ""
    return " ".join([*_terms(pair, flags), said, *_left_out(pair, reason)])


def _aurocs(pair: Pair) -> str:
    values = pair.values("auroc")
    return f"; AUROC {' and '.join(f'{fmean(side):.3f}' for side in values)}" if all(values) else ""


def _few_seeds(pair: Pair, metric: str) -> str:
    """Return what one or two seeds can say: the scores, who was ahead, AUROC, and McNemar's test of the models."""
    sides, number = pair.values(metric), len(pair.seeds)
    first, second = pair.shown
    scores = " and ".join(
        f"{fmean(side):.3f}{f' ({_listed(side)})' if number > 1 and len(set(side)) > 1 else ''} for {name}"
        for name, side in zip(pair.shown, sides, strict=True)
    )
    sign = -1 if metric in inference.LOWER_IS_BETTER else 1
    ahead = [sign * (a - b) for a, b in zip(*sides, strict=True)]
    leads = (
        f"{first} is ahead with {'each' if number > 1 else 'it'}"
        if min(ahead) > 0
        else f"{second} is ahead with {'each' if number > 1 else 'it'}"
        if max(ahead) < 0
        else "neither is ahead with every seed"
    )
    rest = [_aurocs(pair).removeprefix("; ")] if metric != "auroc" else []
    if single := pair.mcnemar():
        said = ", ".join("< 0.001" if p < 0.001 else f"= {p:.3f}" for p in single)
        rest.append(f"McNemar's test of the trained models gives p {said}")
    many = f"{'Two seeds are' if number == 2 else 'One seed is'} too few for an interval"
    extra = "".join(f"; {part}" for part in rest if part)
    return f"{many}. {inference.METRIC_NAMES[metric]} is {scores} ({seeds_in_words(pair.seeds)}); {leads}{extra}."


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _terms(pair: Pair, flags: Sequence[str]) -> list[str]:
    """Return, in words, what was not equal."""
    runs = pair.runs()

    def counts(key: str) -> str:
        each = (", ".join(str(n) for n in sorted({getattr(run, key) for run in side})) for side in runs)
        return " and ".join(f"{number} of {name}" for name, number in zip(pair.names, each, strict=True))

    words = {
        "unequal_budget": lambda: f"different budgets ({counts('gradient_evaluations')} gradient evaluations)",
        "unequal_batch": lambda: f"different batches and so another order of data ({counts('global_batch_size')})",
        "unequal_training": lambda: (
            "different schedules, clipping, precision, limits of the loss, dev examples or steps to choose from"
        ),
        "unequal_inputs": lambda: "different base models or training data",
        "mixed_code": lambda: "different versions of dnatune's code",
    }
    return [f"Not on equal terms: {'; '.join(words[flag]() for flag in flags)}."] if flags else []


def _left_out(pair: Pair, reason: str | None) -> list[str]:
    if reason or not pair.lost:
        return []
    return [f"This holds for runs that complete, {seeds_in_words(pair.seeds)}: {'; '.join(pair.lost)}."]
