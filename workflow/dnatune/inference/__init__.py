"""Statistical inference from a few seeds and one test set: who is better, and how sure that is.

A difference between two methods varies for two reasons: another seed gives other models, and another sample of test
items gives other scores. More seeds reduce the first variance but not the second, because all seeds are scored on the
same items. docs/statistics.md derives the formulas and shows how their coverage was measured.

Data that allow no statement do not raise an error; the result then holds the reason.
"""

from dnatune.inference.intervals import Interval, PairedDifference, half_width
from dnatune.inference.measured import (
    DIFFERENCE_METRICS,
    LOWER_IS_BETTER,
    METRIC_NAMES,
    OF_LABELS,
    Difference,
    Measured,
    average,
    fewest,
    item_covariance,
    measure,
    subtract,
)
from dnatune.inference.paired_difference import infer, paired_difference, variance_components
from dnatune.inference.power import SeedsNeeded, detectable_difference, power_of_difference, seeds_needed
from dnatune.inference.reasons import FEWEST_ITEMS, FEWEST_SEEDS
from dnatune.inference.seeds import effect_size, probability_of_improvement, seed_interval
from dnatune.inference.tests import McNemar, holm, mcnemar_exact
from dnatune.inference.verdicts import Verdict, Word, identical, verdict

__all__ = [
    "DIFFERENCE_METRICS",
    "FEWEST_ITEMS",
    "FEWEST_SEEDS",
    "LOWER_IS_BETTER",
    "METRIC_NAMES",
    "OF_LABELS",
    "Difference",
    "Interval",
    "McNemar",
    "Measured",
    "PairedDifference",
    "SeedsNeeded",
    "Verdict",
    "Word",
    "average",
    "detectable_difference",
    "effect_size",
    "fewest",
    "half_width",
    "holm",
    "identical",
    "infer",
    "item_covariance",
    "mcnemar_exact",
    "measure",
    "paired_difference",
    "power_of_difference",
    "probability_of_improvement",
    "seed_interval",
    "seeds_needed",
    "subtract",
    "variance_components",
    "verdict",
]
