"""The schedule of a run: number of steps, examples of each step, learning rate of each step, times to save."""

import dataclasses
import math
import time
from typing import Literal

import numpy as np

from dnatune.errors import ConfigurationError
from dnatune.settings.training import Budget

#: With `save_steps: auto`, checkpoints of a run, and the time after which there is one in any case.
_CHECKPOINTS, _SAVE_SECONDS = 10, 600


@dataclasses.dataclass(frozen=True)
class Plan:
    """The number of steps of a run.

    Attributes:
        steps: number of optimizer steps.
        stages: gradient evaluations per step.
        steps_per_epoch: steps per pass over the training split; the last batch of a pass may be smaller.
    """

    steps: int
    stages: int
    steps_per_epoch: int


@dataclasses.dataclass
class Progress:
    """The progress of a run, which a checkpoint holds beside the engine's own state.

    Attributes:
        step: last step done.
        gradient_evaluations: forward and backward passes over a global batch.
        repeated_evaluations: those that an fp16 overflow made necessary.
        seconds: time of training.
        best_step: the step with the lowest dev loss so far, if its weights are kept.
        best_loss: that loss.
    """

    step: int = 0
    gradient_evaluations: int = 0
    repeated_evaluations: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None


def plan(budget: Budget, examples: int, batch: int, stages: int) -> Plan:
    """Convert a budget into a number of steps.

    Args:
        budget: length of the run.
        examples: size of the training split.
        batch: global batch size.
        stages: gradient evaluations per step of the optimizer.

    Raises:
        ConfigurationError: the budget is less than one step.
    """
    per_epoch = math.ceil(examples / batch)
    steps = budget.steps_of(stages, per_epoch)
    if steps < 1:
        raise ConfigurationError(
            f"{budget.gradient_evaluations} gradient evaluations are fewer than the {stages} of one step",
            where="config key 'budget.gradient_evaluations'",
            fix=f"raise it to {stages} or more",
        )
    return Plan(steps, stages, per_epoch)


@dataclasses.dataclass(frozen=True)
class BatchOrder:
    """The examples of each step: every epoch is a new permutation, which depends only on seed and epoch.

    Runs with the same seed see the same batches in the same order, whatever their optimizer and number of ranks.
    """

    examples: int
    batch: int
    seed: int

    def indices(self, step: int) -> list[int]:
        """Return the examples of a step, counted from 0."""
        epoch, within = divmod(step, math.ceil(self.examples / self.batch))
        order = np.random.default_rng([self.seed, epoch]).permutation(self.examples)
        return order[within * self.batch : (within + 1) * self.batch].tolist()


def learning_rates(schedule: str, peak: float, warmup_ratio: float, steps: int) -> list[float]:
    """Return the learning rate of each step from transformers' schedule of that name.

    With warm-up, a schedule over n steps begins at 0, and it ends at 0 after the last step. A schedule over n+1 steps
    without its first value gives every step a rate above 0.
    """
    import torch
    from transformers import get_scheduler

    dummy = torch.optim.SGD([torch.zeros(1)], lr=peak)
    needs_total = schedule not in ("constant", "constant_with_warmup", "inverse_sqrt")
    scheduler = get_scheduler(
        schedule,
        dummy,
        num_warmup_steps=math.ceil(warmup_ratio * steps),
        num_training_steps=steps + 1 if needs_total else None,
    )
    rates = []
    for _ in range(steps):
        dummy.step()
        scheduler.step()
        rates.append(float(scheduler.get_last_lr()[0]))
    return rates


class SaveSchedule:
    """When a run is to save a checkpoint.

    Args:
        save_steps: number of steps between two checkpoints, or `auto`: a tenth of the run, and whenever ten minutes
            have passed.
        steps: number of steps of the run.
    """

    def __init__(self, save_steps: int | Literal["auto"], steps: int):
        self._every = math.ceil(steps / _CHECKPOINTS) if save_steps == "auto" else save_steps
        self._seconds = _SAVE_SECONDS if save_steps == "auto" else math.inf
        self.saved()

    def due(self, step: int) -> bool:
        """Return whether the budget asks for a checkpoint after a step."""
        return step % self._every == 0

    @property
    def overdue(self) -> bool:
        """Return whether this process's clock asks for one; ranks must agree, for their clocks differ."""
        return time.monotonic() - self._last > self._seconds

    def saved(self) -> None:
        """Note that a checkpoint has just been saved."""
        self._last = time.monotonic()
