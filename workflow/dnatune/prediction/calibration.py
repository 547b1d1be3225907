"""Temperature scaling: one number by which log-probabilities are divided, fitted to a dev split.

Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599. The predicted class stays.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from scipy import optimize, special

from dnatune.contracts import Nats, Record, Unit

#: Fewer items leave the temperature too uncertain to be of use.
FEWEST = 30
#: Natural logarithms of the temperatures that are searched: 0.02 to 50.
_SEARCHED = (-np.log(50), np.log(50))
#: A temperature this near to an end of the search is none that the data decided.
_AT_THE_END = 1e-3


class Calibration(Record):
    """The temperature, or why there is none."""

    temperature: float | None
    """Number by which log-probabilities are divided before they become probabilities; `null` for none."""
    reason: str | None
    """Why there is no temperature; `null` if there is one."""
    items: int
    """Items of the dev split."""
    nats_before: Annotated[float | None, Unit("nats")]
    """Mean negative log-probability of the right class of the dev items without a temperature; `null` without a dev
    split."""
    nats_after: Nats | None
    """The same with the temperature; `null` if there is none."""

    @property
    def divisor(self) -> float:
        """Return the temperature, and 1 where there is none."""
        return self.temperature or 1.0


def without(reason: str, items: int = 0, nats: float | None = None) -> Calibration:
    """Return that there is no temperature, and why."""
    return Calibration(temperature=None, reason=reason, items=items, nats_before=nats, nats_after=None)


def fit(log_probabilities: np.ndarray, labels: Sequence[int]) -> Calibration:
    """Return the temperature with which the right classes are most probable.

    Args:
        log_probabilities: natural logarithms [items, classes].
        labels: class index of each item [items].
    """
    items = len(labels)
    if not items:
        return without("the dev split has no item that can be scored")

    def nats(logarithm: float) -> float:
        scaled = special.log_softmax(log_probabilities / np.exp(logarithm), axis=1)
        return float(-scaled[np.arange(items), labels].mean())

    before = nats(0.0)
    if items < FEWEST:
        return without(f"the dev split has {items} items; {FEWEST} are needed", items, before)
    found = optimize.minimize_scalar(nats, bounds=_SEARCHED, method="bounded", options={"xatol": 1e-6})
    if min(abs(found.x - end) for end in _SEARCHED) < _AT_THE_END:
        what = "the better, the nearer every probability is to 0 and 1" if found.x < 0 else "best if all are alike"
        return without(f"the dev split decides no temperature: probabilities are {what}", items, before)
    return Calibration(
        temperature=float(np.exp(found.x)), reason=None, items=items, nats_before=before, nats_after=float(found.fun)
    )
