"""Times optimizer steps of all recipes on the same global batch, and one rk4 step against four sgd steps.

On a CPU all recipes take turns. On a GPU each needs the whole memory: those of others, every micro-batch of a peer, and
dnatune's are timed one after another.
"""

import contextlib
import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from dnatune import optimizers
from dnatune.benchmark import peers, recipes, timing
from dnatune.benchmark.agreement import check_gradients, check_loss
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.kernels import liger_kernels
from dnatune.benchmark.recipes import TrainingRecipe
from dnatune.benchmark.rounds import Contestant, Rounds, StepTimes, time_rounds
from dnatune.benchmark.row_lengths import time_rows
from dnatune.errors import RunError
from dnatune.model import flops, micro_batch
from dnatune.model.flops import now
from dnatune.model.shared_prefix import packing
from dnatune.training import engine

_Item = TypeVar("_Item")
#: Hyperparameters of the timed optimizers; they do not affect the time.
_HYPERPARAMETERS = {
    "adamw": {"learning_rate": 1e-4, "weight_decay": 0.01},
    "sgd": {"learning_rate": 1e-4},
    "rk4": {"learning_rate": 1e-4},
}
_RK4_STAGES = 4
#: Every overflow halves the loss scale; after this many in a row, starting from 2^16, nothing is left to halve.
_MOST_SKIPPED = 40


class Trained:
    """An adapted model inside a DeepSpeed engine, ready for steps.

    Args:
        bench: the inputs of the measurement.
        method: the optimizer.
        shared: whether it is for dnatune's rows; otherwise nothing of dnatune's changes the model.
    """

    def __init__(self, bench: Bench, method: str, shared: bool = True):
        training = bench.settings.training
        self.bench, self.model = bench, bench.adapted(bench.dtype).train()
        self.loss = recipes.RecipeLoss(self.model, shared)
        if self.loss.likelihood:
            engine.prepare_layers(self.loss.likelihood, training.zero_stage, bench.compiled)
        self.parameters = [p for p in self.loss.parameters() if p.requires_grad]
        self.hyperparameters = optimizers.validate(method, _HYPERPARAMETERS[method])
        self.copies = optimizers.state_copies(method, self.hyperparameters)
        optimizer = optimizers.build(
            method, self.parameters, self.hyperparameters, training.max_grad_norm, training.clip
        )
        clipping = optimizers.engine_clipping(method, training.max_grad_norm)
        configuration = engine.deepspeed_configuration(training, bench.precision, bench.rank.world, clipping)
        self.engine = engine.start_engine(self.loss, optimizer, configuration)
        self.engine.train()

    def own_recipe(self) -> TrainingRecipe:
        """Return dnatune's recipe with the micro-batch that training would choose."""
        bench = self.bench
        rows = micro_batch.choose_micro_batch(
            bench.settings.training,
            self.model,
            self.loss.likelihood,
            bench.train,
            True,
            bench.rank.device,
            1,
            self.copies,
        )
        return recipes.own_recipe(min(rows.micro_batch_size, len(bench.batch)), rows.recomputed)

    def with_largest_micro_batch(self, recipe: TrainingRecipe) -> TrainingRecipe:
        """Return a recipe of padded rows with the largest micro-batch that fits; on a CPU as it is."""
        bench = self.bench
        device, training = bench.rank.device, bench.settings.training
        if device == "cpu":
            return recipe

        def attempt(indices: Sequence[int]) -> None:
            (batch,) = dataclasses.replace(recipe, micro_batch_size=len(indices)).micro_batches(bench.train, indices)
            loss = self.loss(batch.to(torch.device(device)), len(indices))
            torch.autograd.grad(loss, self.parameters, allow_unused=True)

        trained = sum(p.numel() for p in self.parameters)
        reserve = micro_batch.later_bytes(trained, training.zero_stage, 1, self.copies)
        with liger_kernels(self.model, recipe.liger):
            size = micro_batch.largest_that_fits(attempt, bench.train, len(bench.batch), 1, device, reserve)
        if not size:
            raise RunError(f"one row of the recipe '{recipe.name}' does not fit into this GPU's memory")
        return dataclasses.replace(recipe, micro_batch_size=size)

    def stepper(self, recipe: TrainingRecipe) -> Callable[[Sequence[int], int], StepTimes]:
        """Return `step` of a recipe."""
        return lambda indices, part: self.step(recipe, indices, part)

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
        with micro_batch.checkpointed(self.model, recipe.checkpointing), liger_kernels(self.model, recipe.liger):
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
        del self.engine, self.model, self.loss, self.parameters
        self.bench.free()


@contextlib.contextmanager
def _practice(bench: Bench) -> Iterator[list[Contestant]]:
    """Yield the recipes of others, which share one model; on a GPU, with the largest micro-batch that fits."""
    with contextlib.closing(Trained(bench, "adamw", shared=False)) as trained:
        original, *others = recipes.practice_recipes(bench.liger)
        fitted = [*([original] if bench.own.original else []), *map(trained.with_largest_micro_batch, others)]
        yield [Contestant(r, trained.stepper(r), r.micro_batch_size <= len(bench.part)) for r in fitted]


@contextlib.contextmanager
def _own(bench: Bench) -> Iterator[list[Contestant]]:
    """Yield dnatune's recipe."""
    with contextlib.closing(Trained(bench, "adamw")) as trained:
        ours, batch = trained.own_recipe(), bench.batch

        def of_size(size: int) -> Callable[[], float]:
            way = dataclasses.replace(ours, micro_batch_size=size)
            return lambda: trained.step(way, batch).gradient

        def row_lengths() -> list[dict[str, Any]]:
            return time_rows(
                bench, len(batch), lambda size: packing.pack_training(bench.train, batch[:size], True), of_size
            )

        yield [Contestant(ours, trained.stepper(ours), False, row_lengths)]


def _at_once(bench: Bench, items: Sequence[_Item]) -> list[Sequence[_Item]]:
    """Return what is held in memory at once: on a CPU everything, so that it takes turns; on a GPU one item each."""
    return [items] if bench.rank.device == "cpu" else [[item] for item in items]


def _rounds(bench: Bench) -> dict[str, Rounds]:
    """Return the timed steps of all recipes, dnatune's last; timed first, they are in the log of a run that is cut."""
    groups = [lambda: _own(bench), lambda: _practice(bench), *(peers.groups(bench) if bench.own.peers else [])]
    found: dict[str, Rounds] = {}
    for held in _at_once(bench, groups):
        found |= {rounds.recipe.name: rounds for rounds in _rounds_of(bench, held)}
    own = found.pop(recipes.OWN)
    return {**found, recipes.OWN: own}


def _rounds_of(bench: Bench, groups: Sequence[Callable[[], Any]]) -> list[Rounds]:
    """Open some groups of recipes together, and time them."""
    with contextlib.ExitStack() as stack:
        # No name is given to the recipes here: it would keep their models in memory while the next group is opened.
        return time_rounds(bench, [each for group in groups for each in stack.enter_context(group())])


def _agreement(bench: Bench, layers: int) -> dict[str, dict[str, float]]:
    """Check that all recipes compute the same on a model of a number of layers, and return how far they differ."""
    compared = [*recipes.practice_recipes(bench.liger), recipes.own_recipe(recipes.COMMON_ROWS, False)]
    found = check_gradients(bench.adapted(torch.float32, layers), compared, bench.train, bench.part)
    for name in bench.own.peers:
        bench.free()
        found[name] = check_loss(name, peers.loss(bench, layers, bench.part), found[compared[0].name]["loss"])
    return found


def measure_training(bench: Bench, peak: float) -> dict[str, Any]:
    """Compare the recipes for one optimizer step on the same global batch."""
    batch = bench.batch
    layers, agreement = bench.with_layers_that_fit(lambda layers: _agreement(bench, layers))
    bench.free()
    found = _rounds(bench)
    dimensions, ours = bench.dimensions(), found[recipes.OWN]
    times = {name: rounds.of_batch(len(batch)) for name, rounds in found.items()}
    steps = {name: [each.whole for each in taken] for name, taken in times.items()}
    gradients = {name: [each.gradient for each in taken] for name, taken in times.items()}
    needed = flops.training_flops(dimensions, recipes.floor_work(ours.recipe.micro_batches(bench.train, batch)))
    results = {}
    for name, rounds in found.items():
        work = recipes.work_of(rounds.recipe.micro_batches(bench.train, batch))
        executed = flops.training_flops(dimensions, work, rounds.recipe.checkpointing)
        results[name] = {
            **dataclasses.asdict(rounds.recipe),
            "first_round": dataclasses.asdict(rounds.first),
            "later_rounds": [dataclasses.asdict(each) for each in rounds.later],
            "later_rounds_examples": rounds.examples,
            "part_over_whole": rounds.constancy,
            "gradient_seconds": timing.spread(gradients[name]),
            "optimizer_seconds": timing.spread([each.optimizer for each in times[name]]),
            "step_seconds": timing.spread(steps[name]),
            **timing.rates(statistics.median(steps[name]), len(batch), executed, needed, peak),
        }
    return {
        "examples": len(batch),
        "part_examples": len(bench.part),
        "dimensions": dataclasses.asdict(dimensions),
        "compiled": bench.compiled,
        "agreement": agreement,
        "agreement_layers": layers,
        "recipes": results,
        "speedup_forward_backward": timing.speedups(gradients, recipes.OWN),
        "speedup_step": timing.speedups(steps, recipes.OWN),
        "rows": ours.row_lengths,
    }


def measure_optimizer_steps(bench: Bench) -> dict[str, Any]:
    """Compare an rk4 step with four sgd steps (the same number of gradients), in dnatune's recipe."""
    seconds: dict[str, list[float]] = {}
    ours = None
    for methods in _at_once(bench, ["rk4", "sgd"]):
        with contextlib.ExitStack() as stack:
            trained = {name: stack.enter_context(contextlib.closing(Trained(bench, name))) for name in methods}
            # rk4 needs more memory, so its micro-batch fits sgd too.
            ours = ours or trained["rk4"].own_recipe()
            tasks = {name: _four_steps(each, ours) for name, each in trained.items()}
            timing.warm_up(tasks)
            seconds |= timing.by_turns(tasks, bench.own.repeats, bench.neighbours)
    ratio = {key: _RK4_STAGES * value for key, value in timing.speedups(seconds, "sgd")["rk4"].items()}
    return {
        "four_sgd_steps_seconds": seconds["sgd"],
        "rk4_step_seconds": seconds["rk4"],
        "rk4_over_sgd_step": ratio,
    }


def _four_steps(trained: Trained, recipe: TrainingRecipe) -> Callable[[], float]:
    """Return what takes as many gradients as an rk4 step has, and returns the seconds."""
    return lambda: sum(trained.step(recipe, trained.bench.batch).whole for _ in range(_RK4_STAGES))
