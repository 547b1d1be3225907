"""Times optimizer steps of all recipes on the same global batch, and one rk4 step against four sgd steps."""

import dataclasses
import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from dnatune import optimizers
from dnatune.benchmark import recipes, timing
from dnatune.benchmark.agreement import check_gradients
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.recipes import TrainingRecipe
from dnatune.benchmark.row_lengths import time_rows
from dnatune.errors import RunError
from dnatune.model import flops, micro_batch
from dnatune.model.flops import now
from dnatune.model.shared_prefix import packing
from dnatune.training import engine

#: A part of the batch stands for the whole if the costs per example differ by at most this much.
_CONSTANT = 0.10
#: Hyperparameters of the timed optimizers; they do not affect the time.
_HYPERPARAMETERS = {
    "adamw": {"learning_rate": 1e-4, "weight_decay": 0.01},
    "sgd": {"learning_rate": 1e-4},
    "rk4": {"learning_rate": 1e-4},
}
_RK4_STAGES = 4
#: Every overflow halves the loss scale; after this many in a row, starting from 2^16, nothing is left to halve.
_MOST_SKIPPED = 40


@dataclasses.dataclass(frozen=True)
class StepTimes:
    """Seconds of one optimizer step.

    Attributes:
        part: making the rows, and the forward and backward passes of the first micro-batches, up to the number
            of examples asked for.
        gradient: making the rows, and all forward and backward passes.
        optimizer: the engine's step after them.
    """

    part: float
    gradient: float
    optimizer: float

    @property
    def whole(self) -> float:
        """Return the seconds of the whole step."""
        return self.gradient + self.optimizer


class Trained:
    """An adapted model inside a DeepSpeed engine, ready for steps of any recipe."""

    def __init__(self, bench: Bench, method: str, model: Any):
        self.bench, self.model = bench, model.to(bench.dtype).train()
        training = bench.settings.training
        optimizer = optimizers.build(
            method,
            [p for p in self.model.parameters() if p.requires_grad],
            optimizers.validate(method, _HYPERPARAMETERS[method]),
            training.max_grad_norm,
            training.clip,
        )
        clipping = optimizers.engine_clipping(method, training.max_grad_norm)
        configuration = engine.deepspeed_configuration(training, bench.precision, bench.rank.world, clipping)
        loss = recipes.RecipeLoss(self.model)
        self.engine = engine.start_engine(loss, optimizer, configuration)
        self.engine.train()
        #: dnatune's rows, with the micro-batch that fits into memory.
        self.rows = micro_batch.choose_micro_batch(
            training, self.model, loss.likelihood, bench.train, True, bench.rank.device, 1, None
        )

    def step(self, recipe: TrainingRecipe, indices: Sequence[int], part: int = 0) -> StepTimes:
        """Take an optimizer step on the given examples.

        Args:
            recipe: how to compute the gradient.
            indices: indices of the batch's examples.
            part: number of examples after which an intermediate time is taken.

        Raises:
            RunError: if the engine skips every step.
        """
        for _ in range(_MOST_SKIPPED):
            times = self._step(recipe, indices, part)
            # After an fp16 overflow the engine skips the optimizer, so the step does not count.
            if self.engine.was_step_applied():
                return times
        raise RunError(
            f"{_MOST_SKIPPED} steps in a row were skipped because of overflows",
            where="the benchmark's training",
            fix="use another training.precision",
        )

    def _step(self, recipe: TrainingRecipe, indices: Sequence[int], part: int) -> StepTimes:
        device = self.bench.rank.device
        tokens = recipes.answer_tokens(self.bench.train, indices)
        mark = part // recipe.micro_batch_size
        with micro_batch.checkpointed(self.model, recipe.checkpointing):
            started = now(device)
            batches = [b.to(torch.device(device)) for b in recipe.micro_batches(self.bench.train, indices)]
            halfway = started
            for number, batch in enumerate(batches, start=1):
                self.engine.backward(self.engine(batch, tokens))
                if number == mark:
                    halfway = now(device)
            passed = now(device)
            self.engine.step()
            return StepTimes(halfway - started, passed - started, now(device) - passed)

    def close(self) -> None:
        """Release the memory."""
        self.engine.destroy()
        del self.engine, self.model
        gc.collect()


@dataclasses.dataclass(frozen=True)
class Rounds:
    """The timed steps of each recipe, by its name.

    Attributes:
        first: the step on the whole batch.
        later: the steps of the later rounds.
        examples: number of examples of a later step.
        constancy: of the slow recipes, the cost per example in a part of the batch ÷ that in the whole batch.
    """

    first: Mapping[str, StepTimes]
    later: Mapping[str, Sequence[StepTimes]]
    examples: Mapping[str, int]
    constancy: Mapping[str, float]

    def of_batch(self, name: str, batch: int) -> list[StepTimes]:
        """Return the times of a recipe's steps; a step on a part counts once for each such part of the batch."""
        scale = batch / self.examples[name]
        return [
            self.first[name],
            *(dataclasses.replace(times, gradient=times.gradient * scale) for times in self.later[name]),
        ]


def measure_training(bench: Bench, peak: float) -> dict[str, Any]:
    """Compare the recipes for one optimizer step on the same global batch."""
    model, batch = bench.adapted(), bench.batch
    smallest = packing.Rows(True, recipes.COMMON_ROWS)
    agreement = check_gradients(model, bench.recipes(smallest), bench.train, bench.part)
    dimensions = flops.dimensions(model.get_base_model())
    trained = Trained(bench, "adamw", model)
    compared = bench.recipes(trained.rows)
    ours = compared[-1]
    rounds = _time_rounds(bench, trained, compared)
    times = {recipe.name: rounds.of_batch(recipe.name, len(batch)) for recipe in compared}
    steps = {name: [each.whole for each in found] for name, found in times.items()}
    gradients = {name: [each.gradient for each in found] for name, found in times.items()}
    needed = flops.training_flops(dimensions, recipes.floor_work(ours.micro_batches(bench.train, batch)))
    results = {}
    for recipe in compared:
        name, work = recipe.name, recipes.work_of(recipe.micro_batches(bench.train, batch))
        executed = flops.training_flops(dimensions, work, recipe.checkpointing)
        results[name] = {
            **dataclasses.asdict(recipe),
            "first_round": dataclasses.asdict(rounds.first[name]),
            "later_rounds": [dataclasses.asdict(each) for each in rounds.later[name]],
            "later_rounds_examples": rounds.examples[name],
            "gradient_seconds": timing.spread(gradients[name]),
            "optimizer_seconds": timing.spread([each.optimizer for each in times[name]]),
            "step_seconds": timing.spread(steps[name]),
            **timing.rates(statistics.median(steps[name]), len(batch), executed, needed, peak),
        }

    def of_size(size: int) -> Callable[[], float]:
        way = dataclasses.replace(ours, micro_batch_size=size)
        return lambda: trained.step(way, batch).gradient

    rows = time_rows(bench, len(batch), lambda size: packing.pack_training(bench.train, batch[:size], True), of_size)
    trained.close()
    used = rounds.examples[compared[0].name] < len(batch)
    return {
        "examples": len(batch),
        "dimensions": dataclasses.asdict(dimensions),
        "agreement": agreement,
        "constancy": {"part_examples": len(bench.part), "part_over_whole": rounds.constancy, "part_used": used},
        "recipes": results,
        "speedup_forward_backward": timing.speedups(gradients, ours.name),
        "speedup_step": timing.speedups(steps, ours.name),
        "rows": rows,
    }


def _time_rounds(bench: Bench, trained: Trained, compared: Sequence[TrainingRecipe]) -> Rounds:
    """Time the recipes in turns, after a warm-up.

    The first round times the whole batch. If it shows a constant cost per example, the slow recipes are timed on a part
    of the batch in later rounds.
    """
    *slow, ours = compared
    for recipe in compared:
        trained.step(recipe, bench.batch if recipe is ours else bench.part[: recipe.micro_batch_size])
    tasks = {r.name: lambda r=r: trained.step(r, bench.batch, len(bench.part)) for r in compared}
    first = {name: times for name, (times,) in timing.by_turns(tasks, 1, bench.neighbours).items()}
    constancy = {r.name: _constancy(bench, first[r.name]) for r in slow}
    constant = all(abs(ratio - 1) <= _CONSTANT for ratio in constancy.values())
    indices = {r.name: bench.part if constant and r is not ours else bench.batch for r in compared}
    tasks = {r.name: lambda r=r: trained.step(r, indices[r.name]) for r in compared}
    later = timing.by_turns(tasks, bench.own.repeats - 1, bench.neighbours)
    return Rounds(first, later, {name: len(part) for name, part in indices.items()}, constancy)


def _constancy(bench: Bench, times: StepTimes) -> float:
    """Return the cost per example in the first part of the batch ÷ that in the whole batch."""
    return (times.part / len(bench.part)) / (times.gradient / len(bench.batch))


def measure_optimizer_steps(bench: Bench) -> dict[str, Any]:
    """Compare an rk4 step with four sgd steps (the same number of gradients), in dnatune's recipe."""
    trained = {method: Trained(bench, method, bench.adapted()) for method in ("sgd", "rk4")}

    def four(method: str) -> Callable[[], float]:
        return lambda: sum(trained[method].step(ours, bench.batch).whole for _ in range(_RK4_STAGES))

    ours = bench.recipes(trained["rk4"].rows)[-1]
    tasks = {method: four(method) for method in trained}
    timing.warm_up(tasks)
    seconds = timing.by_turns(tasks, bench.own.repeats, bench.neighbours)
    for each in trained.values():
        each.close()
    ratio = {
        key: _RK4_STAGES * value
        for key, value in timing.speedups({"rk4": seconds["rk4"], "sgd": seconds["sgd"]}, "sgd")["rk4"].items()
    }
    return {
        "four_sgd_steps_seconds": seconds["sgd"],
        "rk4_step_seconds": seconds["rk4"],
        "rk4_over_sgd_step": ratio,
    }
