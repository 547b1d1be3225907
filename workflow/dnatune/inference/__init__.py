"""Better, worse, equivalent or inconclusive: what a few seeds and one test set allow to say.

A difference between two methods varies for two reasons: another seed gives other models, another draw of test items
gives other scores. More seeds average out the first and leave the second, for all of them are scored on the same items.
docs/statistics.md derives the formulas and shows how they were calibrated.

Nothing here raises for data that allow no statement: the answer then carries the reason.
"""

from dnatune.inference.intervals import Interval, PairedDifference, half_width
from dnatune.inference.paired_difference import (
    DIFFERENCE_METRICS,
    differences_and_covariance,
    paired_difference,
    variance_components,
)
from dnatune.inference.reasons import FEWEST_SEEDS
from dnatune.inference.seeds import effect_size, probability_of_improvement, seed_interval
from dnatune.inference.tests import McNemar, holm, mcnemar_exact
from dnatune.inference.verdicts import SeedsNeeded, Verdict, power_of_difference, seeds_needed, verdict

__all__ = [
    "DIFFERENCE_METRICS",
    "FEWEST_SEEDS",
    "Interval",
    "McNemar",
    "PairedDifference",
    "SeedsNeeded",
    "Verdict",
    "differences_and_covariance",
    "effect_size",
    "half_width",
    "holm",
    "mcnemar_exact",
    "paired_difference",
    "power_of_difference",
    "probability_of_improvement",
    "seed_interval",
    "seeds_needed",
    "variance_components",
    "verdict",
]
