"""Learning-rate trials: which rates each optimizer gets, as many for one as for another."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from dnatune.errors import ConfigurationError
from dnatune.settings.tuning import RateGrid, Rates, Tuning

_DIGITS = 3


def learning_rates(entry: Rates, count: int) -> list[float]:
    """Return the rates of one optimizer, rising.

    Args:
        entry: the rates themselves, or the ends of a grid that is even on a logarithmic scale.
        count: rates of a grid. They are rounded to three digits, for they name folders.
    """
    if isinstance(entry, RateGrid):
        return [_rounded(rate) for rate in np.geomspace(entry.lowest, entry.highest, count)]
    return sorted(map(float, entry))


def fine_factors(rates: Sequence[float], count: int) -> list[float]:
    """Return the rates of the second step in terms of the best of the first, rising.

    With q the mean ratio of neighbours of the first step and m = (count − 1) ÷ 2 they are q^(j ÷ (m + 1)), j = −m … m:
    evenly spaced, 1 in the middle, and inside the gap to the best rate's neighbours. They are known beforehand.

    Args:
        rates: those of the first step, rising.
        count: an odd number.
    """
    ratio, half = (rates[-1] / rates[0]) ** (1 / (len(rates) - 1)), count // 2
    return [ratio ** (place / (half + 1)) for place in range(-half, half + 1)]


def fine_rate(best: float, factor: float) -> float:
    """Return a rate of the second step, rounded as those of a grid; the best itself is not rounded."""
    return best if factor == 1 else _rounded(best * factor)


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")


def check(tuning: Tuning, optimizers: Mapping[str, Mapping[str, Any]], seeds: Collection[int]) -> None:
    """Check that every optimizer is tuned, each with as many different rates, on a seed that no run has.

    Args:
        tuning: the map `tuning`.
        optimizers: the map `optimizers` as configured.
        seeds: of the runs.

    Raises:
        ConfigurationError: an optimizer without rates, rates without an optimizer, unequal numbers, a grid whose ends
            are not in order, a learning rate that is given although it is to be found, or a run's seed.
    """
    taken = [seed for seed in (tuning.seed, *tuning.fine_seeds) if seed in seeds]
    if taken:
        raise ConfigurationError(
            f"seed {taken[0]} of a trial is a run's too: that run would repeat a trial which was chosen for its score",
            where="config key 'tuning.seed'",
            fix="give a number that is not in 'seeds'; with 'tuning.fine' neither may the next two be",
        )
    rates, count = tuning.rates, tuning.trials
    for name in optimizers:
        if name not in rates:
            raise ConfigurationError(
                f"optimizer '{name}' has no rates to try, and the others have",
                where=f"config key 'tuning.rates.{name}'",
                fix=f"give {count} rates, or {{from, to}}: all optimizers are tuned alike, or none",
            )
        if "learning_rate" in optimizers[name]:
            raise ConfigurationError(
                "a learning rate is given, and it is to be found by trials",
                where=f"config key 'optimizers.{name}.learning_rate'",
                fix="take it out, or set it to null; or set 'tuning' to null",
            )
    for name, entry in rates.items():
        where = f"config key 'tuning.rates.{name}'"
        if name not in optimizers:
            raise ConfigurationError(
                f"'{name}' is not among the optimizers", where=where, fix="take it out, or set it to null"
            )
        if isinstance(entry, RateGrid) and entry.lowest >= entry.highest:
            raise ConfigurationError(
                f"a grid from {entry.lowest:g} to {entry.highest:g}", where=where, fix="let 'to' be above 'from'"
            )
        found = len(set(learning_rates(entry, count)))
        if found != count:
            raise ConfigurationError(
                f"{found} different rates, and 'tuning.trials' is {count}: each optimizer gets as many trials",
                where=where,
                fix=f"give {count} rates that differ, or {{from, to}} further apart",
            )
