"""Statistical inference from a few seeds and one test set: better, worse, equivalent or inconclusive.

A difference between two methods varies for two reasons: another seed gives other models, and another sample of test
items gives other scores. More seeds reduce the first variance but not the second, because all seeds are scored on the
same items. docs/statistics.md derives the formulas and shows how their coverage was measured.

Data that allow no statement do not raise an error; the result then holds the reason.
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
