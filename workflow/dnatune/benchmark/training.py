"""Times optimizer steps of all recipes on the same global batch, and one rk4 step against four sgd steps."""

import dataclasses
import gc
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch

from dnatune import optimizers
from dnatune.benchmark import recipes, timing
from dnatune.benchmark.agreement import check_gradients
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.measures import floor_work, rates, time_rows
from dnatune.benchmark.recipes import TrainingRecipe
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
        training = bench.settings["training"]
        optimizer = optimizers.build(
            method,
            [p for p in self.model.parameters() if p.requires_grad],
            optimizers.validate(method, _HYPERPARAMETERS[method]),
            training["max_grad_norm"],
        )
        clipping = optimizers.engine_clipping(method, training["max_grad_norm"])
        configuration = engine.deepspeed_configuration(training, bench.precision, bench.rank.world, clipping)
        loss = recipes.RecipeLoss(self.model)
        self.engine = engine.start_engine(loss, optimizer, configuration)
        self.engine.train()
        #: The micro-batch of dnatune's rows that fits into memory.
        self.fit = micro_batch.choose_micro_batch(
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


def measure_training(bench: Bench, peak: float) -> dict[str, Any]:
    """Compare the recipes for one optimizer step on the same global batch."""
    model = bench.adapted()
    smallest = micro_batch.Fit(recipes.COMMON_ROWS, checkpointing=False)
    agreement = check_gradients(model, bench.recipes(smallest), bench.train, bench.part)
    dimensions = flops.dimensions(model.get_base_model())
    trained = Trained(bench, "adamw", model)
    compared = bench.recipes(trained.fit)
    ours = compared[-1]
    for recipe in compared:
        trained.step(recipe, bench.batch if recipe is ours else bench.part[: recipe.micro_batch_size])

    # The first round times the whole batch. If it shows a constant cost per example, the slow recipes are timed on a
    # part of the batch in later rounds.
    first = timing.by_turns(
        {r.name: lambda r=r: trained.step(r, bench.batch, len(bench.part)) for r in compared}, 1, bench.neighbours
    )
    constancy = {r.name: _constancy(bench, first[r.name][0]) for r in compared if r is not ours}
    partial = all(abs(ratio - 1) <= _CONSTANT for ratio in constancy.values()) and len(bench.part) < len(bench.batch)
    indices = {r.name: bench.part if partial and r is not ours else bench.batch for r in compared}
    tasks = {r.name: lambda r=r: trained.step(r, indices[r.name]) for r in compared}
    rounds = timing.by_turns(tasks, bench.own["repeats"] - 1, bench.neighbours)
    results, gradients, steps = {}, {}, {}
    needed = flops.training_flops(dimensions, floor_work(ours.micro_batches(bench.train, bench.batch)))
    for recipe in compared:
        scale = len(bench.batch) / len(indices[recipe.name])
        scaled = [
            first[recipe.name][0],
            *(dataclasses.replace(t, gradient=t.gradient * scale) for t in rounds[recipe.name]),
        ]
        gradients[recipe.name] = [times.gradient for times in scaled]
        steps[recipe.name] = [times.whole for times in scaled]
        work = recipes.work_of(recipe.micro_batches(bench.train, bench.batch))
        results[recipe.name] = {
            **dataclasses.asdict(recipe),
            "first_round": dataclasses.asdict(first[recipe.name][0]),
            "later_rounds": [dataclasses.asdict(times) for times in rounds[recipe.name]],
            "later_rounds_examples": len(indices[recipe.name]),
            "gradient_seconds": timing.spread(gradients[recipe.name]),
            "optimizer_seconds": timing.spread([times.optimizer for times in scaled]),
            "step_seconds": timing.spread(steps[recipe.name]),
            **rates(
                statistics.median(steps[recipe.name]),
                len(bench.batch),
                flops.training_flops(dimensions, work, recipe.checkpointing),
                needed,
                peak,
            ),
        }

    def of_size(size: int) -> Callable[[], float]:
        way = dataclasses.replace(ours, micro_batch_size=size)
        return lambda: trained.step(way, bench.batch).gradient

    rows = time_rows(
        bench,
        len(bench.batch),
        lambda size: packing.pack_training(bench.train, bench.batch[:size], shared=True),
        of_size,
    )
    trained.close()
    return {
        "examples": len(bench.batch),
        "dimensions": dataclasses.asdict(dimensions),
        "agreement": agreement,
        "constancy": {"part_examples": len(bench.part), "part_over_whole": constancy, "part_used": partial},
        "recipes": results,
        "speedup_forward_backward": timing.speedups(gradients, ours.name),
        "speedup_step": timing.speedups(steps, ours.name),
        "rows": rows,
    }


def _constancy(bench: Bench, times: StepTimes) -> float:
    """Return the cost per example in the first part of the batch ÷ that in the whole batch."""
    return (times.part / len(bench.part)) / (times.gradient / len(bench.batch))


def measure_optimizer_steps(bench: Bench) -> dict[str, Any]:
    """Compare an rk4 step with four sgd steps (the same number of gradients), in dnatune's recipe."""
    trained = {method: Trained(bench, method, bench.adapted()) for method in ("sgd", "rk4")}

    def four(method: str) -> Callable[[], float]:
        return lambda: sum(trained[method].step(ours, bench.batch).whole for _ in range(_RK4_STAGES))

    ours = bench.recipes(trained["rk4"].fit)[-1]
    tasks = {method: four(method) for method in trained}
    timing.warm_up(tasks)
    seconds = timing.by_turns(tasks, bench.own["repeats"], bench.neighbours)
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
