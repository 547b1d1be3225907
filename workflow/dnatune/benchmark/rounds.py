"""Times the steps of several recipes: a warm-up, a first round on the whole batch, and later rounds."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from dnatune.benchmark import timing
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.recipes import TrainingRecipe

#: A part of the batch stands for the whole if the costs per example differ by at most this much.
_CONSTANT = 0.10


@dataclasses.dataclass(frozen=True)
class StepTimes:
    """Seconds of one optimizer step.

    Attributes:
        part: making the rows, and the forward and backward passes of the first micro-batches, up to the number
            of examples asked for; 0 if there is no such number of micro-batches.
        gradient: making the rows, and all forward and backward passes.
        optimizer: the optimizer's step after them.
    """

    part: float
    gradient: float
    optimizer: float

    @property
    def whole(self) -> float:
        """Return the seconds of the whole step."""
        return self.gradient + self.optimizer


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A recipe that is ready to be timed.

    Attributes:
        recipe: the recipe.
        step: takes an optimizer step on the examples with the given indices; the second argument is the number of
            examples after which an intermediate time is taken.
        divisible: whether a part of the batch may stand for the whole, if an example costs the same in both.
        row_lengths: times rows of several lengths, if the recipe has such; see `time_rows`.
    """

    recipe: TrainingRecipe
    step: Callable[[Sequence[int], int], StepTimes]
    divisible: bool
    row_lengths: Callable[[], list[dict[str, Any]]] | None = None


@dataclasses.dataclass(frozen=True)
class Rounds:
    """The timed steps of one recipe.

    Attributes:
        recipe: the recipe.
        first: the step on the whole batch.
        later: the steps of the later rounds.
        examples: number of examples of a later step.
        constancy: the cost per example in a part of the batch ÷ that in the whole batch; None if the batch is not
            divided.
        row_lengths: the times of rows of several lengths, if the recipe has such.
    """

    recipe: TrainingRecipe
    first: StepTimes
    later: Sequence[StepTimes]
    examples: int
    constancy: float | None
    row_lengths: list[dict[str, Any]]

    def of_batch(self, batch: int) -> list[StepTimes]:
        """Return the times of the steps; a step on a part counts once for each such part of the batch."""
        scale = batch / self.examples
        return [
            self.first,
            *(dataclasses.replace(times, gradient=times.gradient * scale) for times in self.later),
        ]


def time_rounds(bench: Bench, contestants: Sequence[Contestant]) -> list[Rounds]:
    """Time the recipes in turns, after a warm-up.

    The warm-up of a recipe that may be timed on a part of the batch is that part, so that none of its micro-batches
    meets its shape for the first time in the first round. The first round times the whole batch. A recipe whose cost
    per example it shows to be constant is timed on the part in later rounds.
    """
    by_name = {each.recipe.name: each for each in contestants}
    part = len(bench.part)
    for each in contestants:
        each.step(bench.part if each.divisible else bench.batch, 0)
    tasks = {name: lambda each=each: each.step(bench.batch, part) for name, each in by_name.items()}
    first = {name: times for name, (times,) in timing.by_turns(tasks, 1, bench.neighbours).items()}
    constancy = {name: _constancy(bench, first[name]) if each.divisible else None for name, each in by_name.items()}
    indices = {
        name: bench.batch if ratio is None or abs(ratio - 1) > _CONSTANT else bench.part
        for name, ratio in constancy.items()
    }
    tasks = {name: lambda name=name, each=each: each.step(indices[name], 0) for name, each in by_name.items()}
    later = timing.by_turns(tasks, bench.own.repeats - 1, bench.neighbours)
    return [
        Rounds(
            each.recipe,
            first[name],
            later[name],
            len(indices[name]),
            constancy[name],
            each.row_lengths() if each.row_lengths else [],
        )
        for name, each in by_name.items()
    ]


def _constancy(bench: Bench, times: StepTimes) -> float:
    """Return the cost per example in the first part of the batch ÷ that in the whole batch."""
    return (times.part / len(bench.part)) / (times.gradient / len(bench.batch))
