"""Settings of learning-rate trials."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from dnatune.settings.base import AllDifferent, AsTuple, Number, Settings, refused, setting
from dnatune.settings.scoring import Labels
from dnatune.settings.training import Budget

Rate = Annotated[Number, Field(ge=1e-30, le=1e30)]


class RateGrid(Settings):
    """The ends of a grid of learning rates."""

    lowest: Number = setting(alias="from", ge=1e-30, le=1e30, unit="learning rate")
    """Lowest rate of a grid of `trials` rates, evenly spaced on a logarithmic scale and rounded to three digits."""
    highest: Number = setting(alias="to", ge=1e-30, le=1e30, unit="learning rate")
    """Highest rate of the grid."""


def _kind(value: Any) -> str:
    return "grid" if isinstance(value, Mapping | RateGrid) else "list"


RateList = Annotated[tuple[Rate, ...], AsTuple, Field(min_length=2), AllDifferent]
Rates = Annotated[
    Annotated[RateList, Tag("list")] | Annotated[RateGrid, Tag("grid")],
    Discriminator(_kind),
]


class Tuning(Settings):
    """Learning-rate trials."""

    trials: int = setting(5, ge=2, le=1000, unit="trials per optimizer")
    """Number of learning rates that are tried for each optimizer."""
    fine: int = setting(0, ge=0, le=999, unit="rates per optimizer")
    """Number of rates of a second step, an odd one. They lie about the best rate of the first, evenly on a logarithmic
    scale and closer than its neighbours, and are tried with the two seeds after `seed`; the best mean over these
    decides. 0: there is no second step."""
    rates: dict[str, Rates] = setting(min_length=1, unit="map of optimizer to rates")
    """Learning rates of every optimizer, which then has no `learning_rate` of its own: a list of `trials` rates, or the
    ends of a grid."""
    budget: Budget | None = setting(None, unit="map with one key")
    """Length of a trial. If absent, it is that of the optimizer's runs."""
    seed: int = setting(1000, ge=0, unit="seed")
    """Seed of the trials; `fine` takes the two after it as well. It is none of `seeds`: the run of that seed would be a
    trial that was chosen for its score."""
    metric: Literal["dev_loss", "task"] = setting("dev_loss", unit="one of two words")
    """What a rate is chosen by. dev_loss: the loss on the dev split, lower is better. task: the task's metric there,
    higher is better; the loss decides between equals, and if the dev items are of one class, which leaves no MCC."""
    dev_examples: int = setting(10000, ge=1, unit="examples")
    """Number of examples, from the start of the dev split, that a trial is scored on, once, after its last step."""

    @property
    def fine_seeds(self) -> tuple[int, ...]:
        """Return the seeds of the second step; none without one."""
        return (self.seed + 1, self.seed + 2) if self.fine else ()

    @model_validator(mode="after")
    def _the_best_is_among_the_fine_rates(self) -> Self:
        if self.fine and (self.fine < 3 or self.fine % 2 == 0):
            raise refused(
                "fine", f"it is {self.fine}", "give 0, 3 or another odd number: the best rate is in their middle"
            )
        return self


class ChooseSettings(Settings):
    """What decides the choice among the trials of an optimizer."""

    model: str = setting(unit="name")
    """Name of the base model."""
    task: str = setting(unit="name")
    """Name of the task."""
    optimizer: str = setting(unit="name")
    """Name of the optimizer."""
    labels: Labels = setting(unit="list of words")
    """Answer of each class."""
    metric: str = setting(unit="key of training.jsonl")
    """What a rate is chosen by."""
    dev_examples: int = setting(ge=1, unit="examples")
    """See `Tuning`."""
    seed: int = setting(unit="seed")
    """Seed of the trials of the first step; those of other seeds are of the second."""


class FineRate(Settings):
    """What decides the rate of a trial of the second step, beside the choice of the first."""

    factor: Number = setting(gt=0, unit="of the best rate")
    """The rate in terms of the best of the first step."""
