"""The grid of runs: models × tasks × optimizers × seeds."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    model: str
    task: str
    optimizer: str
    seed: int

    @classmethod
    def of(cls, wildcards: Any) -> "Run":
        """Return the run that the wildcards of a rule name."""
        return cls(wildcards.model, wildcards.task, wildcards.optimizer, int(wildcards.seed))

    @property
    def path(self) -> str:
        """Return the run's part of every path: <model>/<task>/<optimizer>/seed<k>."""
        return f"{self.model}/{self.task}/{self.optimizer}/seed{self.seed}"
