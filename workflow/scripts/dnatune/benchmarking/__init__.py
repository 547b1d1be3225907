"""The speed comparison: recipes timed by turns in one process, after a proof that they compute the same."""

from dnatune.benchmarking.agreement import check_gradients, check_scores
from dnatune.benchmarking.bench import Bench
from dnatune.benchmarking.comparison import run

__all__ = ["Bench", "check_gradients", "check_scores", "run"]
