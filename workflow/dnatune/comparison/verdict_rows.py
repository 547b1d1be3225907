"""The rows of tests.tsv: what was found of two methods by one metric."""

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal

from dnatune import inference
from dnatune.comparison.summary import table_text


@dataclasses.dataclass(frozen=True)
class VerdictRow:
    """What the runs say of two methods by one metric. A difference is the first's value minus the second's.

    The fields are the columns of tests.tsv, which docs/contracts.md describes; None is an empty cell. Texts of several
    words are tuples here.
    """

    model: str
    tasks: tuple[str, ...]
    first: str
    second: str
    comparison: Literal["optimizers", "control"]
    metric: str
    role: Literal["primary", "secondary"]
    verdict: inference.Word
    within_margin: bool
    family: Literal["all", "reference", "rest", "control"]
    family_size: int
    seeds: tuple[int, ...]
    first_mean: float | None
    second_mean: float | None
    first_values: tuple[float, ...]
    second_values: tuple[float, ...]
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p: float | None
    detectable: float | None
    items: int
    clusters: int
    limiting: int
    mcnemar_p: tuple[float, ...]
    improvement: float | None
    improvement_low: float | None
    improvement_high: float | None
    effect_size: float | None
    effect_size_low: float | None
    effect_size_high: float | None
    seeds_needed: int | None
    power: float | None
    level: float
    equivalence_margin: float | None
    flags: tuple[str, ...]
    withheld: str
    sentence: str
    seeds_sentence: str

    @property
    def headline(self) -> bool:
        """Return whether the row is of the task's metric and of a family that was chosen beforehand."""
        return self.role == "primary" and self.family != "rest"

    @property
    def approximate(self) -> bool:
        """Return whether there is an interval and no test, because too few test items are of the rarest class."""
        return self.low is not None and self.p_value is None and self.limiting < inference.FEWEST_ITEMS

    @property
    def decided(self) -> bool:
        """Return whether one of the two was found to be better."""
        return self.verdict in ("better", "worse")


#: The columns of tests.tsv, in their order.
TEST_COLUMNS = tuple(field.name for field in dataclasses.fields(VerdictRow))


def tests_text(rows: Iterable[VerdictRow]) -> str:
    """Return the rows as the text of tests.tsv."""
    return table_text(TEST_COLUMNS, ({name: _cell(getattr(row, name)) for name in TEST_COLUMNS} for row in rows))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(f"{item:.6g}" if isinstance(item, float) else str(item) for item in value)
    return value
