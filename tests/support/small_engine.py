"""A weight and its optimizer, as DeepSpeed's engine without ZeRO holds them; training it takes microseconds."""

import torch
from torch import nn


class SmallEngine:
    """Trains one linear layer; each step has a loss of its own, so that weights and state tell the steps apart.

    Args:
        rate: learning rate.
    """

    def __init__(self, rate: float = 0.1):
        torch.manual_seed(0)
        self.module = nn.Linear(2, 1)
        self.optimizer = torch.optim.AdamW(self.module.parameters(), lr=rate)
        self.global_steps = self.global_samples = self.skipped_steps = 0

    def zero_optimization(self) -> bool:
        return False

    zero_optimization_partition_weights = zero_optimization

    def step(self, factor: float = 1.0) -> None:
        """Take a step; another factor is another gradient, as other code may give."""
        self.optimizer.zero_grad()
        (self.module(torch.ones(2)) ** 2 * (self.global_steps + factor)).sum().backward()
        self.optimizer.step()
        self.global_steps += 1

    def train_to(self, step: int) -> "SmallEngine":
        while self.global_steps < step:
            self.step()
        return self

    def equals(self, other: "SmallEngine") -> bool:
        """Return whether weights, optimizer state and counter are the same to the last bit."""
        if self.global_steps != other.global_steps:
            return False
        return all(map(torch.equal, self._tensors, other._tensors))

    @property
    def _tensors(self) -> list[torch.Tensor]:
        state = [part for parts in self.optimizer.state.values() for part in parts.values()]
        return [*self.module.state_dict().values(), *state]
