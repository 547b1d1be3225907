"""The speed comparison: recipes timed by turns in one process, after a proof that they compute the same."""

from dnatune.benchmark.agreement import check_gradients, check_scores
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.measurements import run

__all__ = ["Bench", "check_gradients", "check_scores", "run"]
