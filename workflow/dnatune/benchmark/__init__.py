"""The speed comparison: recipes are timed in turn in one process, after a check that they compute the same."""

from dnatune.benchmark.agreement import check_gradients, check_scores
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.speed_comparison import run

__all__ = ["Bench", "check_gradients", "check_scores", "run"]
