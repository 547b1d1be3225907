"""Verdicts: better, worse, equivalent, identical, inconclusive or withheld, and a sentence for each."""

import dataclasses
import math
from typing import Literal

from dnatune.errors import ConfigurationError
from dnatune.inference.intervals import PairedDifference
from dnatune.inference.measured import LOWER_IS_BETTER, METRIC_NAMES

#: What a comparison can end with. `withheld` is for two methods whose runs all give one answer to all items.
Word = Literal["better", "worse", "equivalent", "identical", "inconclusive", "withheld"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        word: the verdict on the first method.
        within_margin: whether the (1 - 2α) interval lies within the margin; this is possible for `better` and `worse`.
        sentence: the verdict in plain words.
    """

    word: Word
    within_margin: bool
    sentence: str


def verdict(
    difference: PairedDifference,
    margin: float | None,
    adjusted_p: float | None,
    names: tuple[str, str] = ("A", "B"),
) -> Verdict:
    """Return the verdict on two methods whose predictions are not the same, and a sentence.

    With α = 1 - level of the difference, the verdict is better or worse if the adjusted test rejects "no difference" at
    level α; otherwise equivalent if the whole (1 - 2α) interval lies within ±margin (two one-sided tests, Schuirmann
    1987, J Pharmacokinet Biopharm 15:657); otherwise inconclusive. It is withheld if the metric looks at predicted
    classes and every run of both gives one answer to all items, whose MCC is 0 whatever the items; and inconclusive
    without a test, where the sentence gives the interval as an approximate one. If a method is
    better or worse and the difference is within the margin, the sentence says that it is too small to matter.

    Args:
        difference: of the first method minus the second.
        margin: largest difference that does not matter, in units of the metric; None if none was set beforehand.
        adjusted_p: p-value of the difference, adjusted by `holm` for all comparisons made; None if there is none.
        names: names of the two methods, for the sentence.

    Raises:
        ConfigurationError: the margin is not above 0.
    """
    if margin is not None and not 0 < margin < math.inf:
        raise ConfigurationError(
            f"an equivalence margin of {margin}", where="margin", fix="give a difference above 0, or no margin"
        )
    first, second = names
    interval, metric = difference.interval, METRIC_NAMES[difference.metric]
    if difference.all_constant:
        return Verdict("withheld", False, f"Neither {first} nor {second} leaves one class at its threshold.")
    size = f"{100 * interval.level:.3g} % interval {_signed(interval.low)} to {_signed(interval.high)}"
    if difference.untested:
        known = f"{metric} {_signed(interval.estimate)}, approximate {size}"
        return Verdict("inconclusive", False, f"{first} and {second} are not tested ({known}): {difference.untested}.")
    if interval.estimate is None or interval.reason or adjusted_p is None or math.isnan(adjusted_p):
        reason = interval.reason or "the comparison was not tested"
        return Verdict("inconclusive", False, f"Nothing can be said of {first} against {second}: {reason}.")
    alpha = 1 - interval.level
    narrow = difference.interval_at(1 - 2 * alpha)
    within = margin is not None and narrow.within(margin)
    test = f"adjusted p {'< 0.001' if adjusted_p < 0.001 else f'= {adjusted_p:.3f}'}"
    amount = f"{metric} {_signed(interval.estimate)}, {size}, {test}"
    if adjusted_p <= alpha and interval.estimate != 0:
        higher_is_better = difference.metric not in LOWER_IS_BETTER
        word: Word = "better" if (interval.estimate > 0) == higher_is_better else "worse"
        if within:
            small = f", by less than {margin:g}: practically equivalent"
            return Verdict(word, True, f"{first} is {word} than {second}{small} ({amount}).")
        return Verdict(word, False, f"{first} is {word} than {second} ({amount}).")
    if within:
        return Verdict(
            "equivalent",
            True,
            f"{first} and {second} are equivalent: they differ by less than {margin:g} "
            f"({100 * narrow.level:.3g} % interval {_signed(narrow.low)} to {_signed(narrow.high)}).",
        )
    shown = "neither a difference nor its absence is shown"
    if margin is not None:
        shown = f"neither a difference nor equivalence within {margin:g} is shown"
    lost = difference.p_value is not None and difference.p_value <= alpha
    why = "; a single comparison would show a difference, but not after adjusting for their number" if lost else ""
    return Verdict("inconclusive", False, f"{first} and {second}: {shown} ({amount}){why}.")


def identical(names: tuple[str, str]) -> Verdict:
    """Return the verdict on two methods that give every test item the same prediction with every seed."""
    first, second = names
    return Verdict(
        "identical", True, f"{first} and {second} are identical: every prediction of every seed is the same."
    )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"
