"""What is fixed before any test score exists."""

from typing import Annotated, Any

from dnatune.settings.base import AsTuple, Settings, setting
from dnatune.settings.scoring import Comparison
from dnatune.settings.training import Budget, Lora, Training
from dnatune.settings.tuning import Tuning


class PlannedOptimizer(Settings):
    """An optimizer as the plan names it."""

    method: str = setting(unit="name")
    """Optimization method, see `dnatune.optimizers`."""
    budget: Budget = setting(unit="map with one key")
    """Length of training."""
    training: Training = setting(unit="map")
    """How its runs are trained."""
    hyperparameters: dict[str, Any] = setting(unit="map")
    """Hyperparameters of the method; without the learning rate if trials find it."""


class PlanSettings(Settings):
    """What decides the plan of a model and task."""

    model: str = setting(unit="name")
    """Name of the base model."""
    task: str = setting(unit="name")
    """Name of the task."""
    metric: str = setting(unit="metric")
    """Primary metric, which alone decides the verdicts."""
    optimizers: dict[str, PlannedOptimizer] = setting(min_length=1, unit="map of name to settings")
    """The optimizers by name."""
    seeds: Annotated[tuple[int, ...], AsTuple] = setting(min_length=1, unit="list of seeds")
    """The seeds of each optimizer."""
    lora: Lora = setting(unit="map")
    """The adapter."""
    comparison: Comparison = setting(unit="map")
    """How pairs of optimizers are tested."""
    tuning: Tuning | None = setting(None, unit="map")
    """The search for learning rates."""
