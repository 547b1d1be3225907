"""What the tests say of each pair, those that are decided first."""

from collections.abc import Mapping, Sequence
from typing import Any

from dnatune.report import formatting
from dnatune.report.evidence import Evidence
from dnatune.report.sections import differences


def content(evidence: Evidence) -> Mapping[str, Any]:
    """Return the section of the pairs of each model and task in words, those that are decided first."""
    boards = [{**board, "count": _count_of(board["pairs"])} for board in differences.boards(evidence)]
    return {"boards": boards, "undecided": differences.UNDECIDED}


def _count_of(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Return how many pairs were decided, in words; empty where the list is short enough to be seen at a glance."""
    if len(pairs) < 4:
        return ""
    found = [pair["verdict"] for pair in pairs]
    decided = sum(word in ("better", "worse") for word in found)
    counts = {
        "show a difference": decided,
        "are equivalent": found.count("equivalent"),
        "are identical": found.count("identical"),
        "are inconclusive": found.count("inconclusive"),
        "are withheld": found.count("withheld"),
    }
    said = [f"{number} {word if number > 1 else _singular(word)}" for word, number in counts.items() if number]
    return f"Of {len(pairs)} pairs, {formatting.listed(said)}."


def _singular(phrase: str) -> str:
    return {"show a difference": "shows a difference"}.get(phrase, phrase.replace("are ", "is "))
