"""The speed comparison: recipes timed by turns in one process, after a proof that they compute the same."""

import contextlib
import dataclasses
import gc
import logging
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from dnatune import accounting, engines, memory, models, optimizers, packing, recipes, timing
from dnatune.accounting import Work, now
from dnatune.errors import DataError, RunError
from dnatune.launching import Rank
from dnatune.prompts import EncodedExamples
from dnatune.recipes import TrainingRecipe
from dnatune.scoring import label_log_probabilities

_LOG = logging.getLogger(__name__)
#: Losses, gradients and scores of two recipes may differ by this much, relatively: fp32 sums in another order.
_TOLERANCE = 1e-4
#: Costs an example may differ by this much between a part of the batch and the whole before the part is not trusted.
_CONSTANT = 0.10
#: Hyperparameters of the timed optimizers; they decide nothing about the time.
_HYPERPARAMETERS = {
    "adamw": {"learning_rate": 1e-4, "weight_decay": 0.01},
    "sgd": {"learning_rate": 1e-4},
    "rk4": {"learning_rate": 1e-4},
}
_RK4_STAGES = 4
#: Shortest row that is timed.
_FEWEST_IN_A_ROW = 8


@dataclasses.dataclass(frozen=True)
class StepTimes:
    """Seconds of one optimizer step.

    Attributes:
        part: forward and backward passes of the first micro-batches, as many as were asked for.
        gradient: all forward and backward passes.
        optimizer: the engine's step behind them.
    """

    part: float
    gradient: float
    optimizer: float

    @property
    def whole(self) -> float:
        """Return the seconds of the whole step."""
        return self.gradient + self.optimizer


class Bench:
    """What every measurement uses.

    Args:
        settings: what `Configuration.benchmark_settings` returns.
        rank: this process, the only one.
        tokenizer: of the model.
        train: the encoded global batch.
        test: the encoded examples to score.

    Raises:
        DataError: a split is too small.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        rank: Rank,
        tokenizer: PreTrainedTokenizerBase,
        train: EncodedExamples,
        test: EncodedExamples,
    ):
        self.settings, self.rank, self.tokenizer, self.train, self.test = settings, rank, tokenizer, train, test
        self.own: dict[str, Any] = settings["benchmark"]
        self.neighbours = timing.Neighbours(self.own["patience"])
        for split, wanted, found in (
            ("train", self.own["examples"], len(self.train)),
            ("test", self.own["scoring_examples"], len(self.test)),
        ):
            if found < wanted:
                raise DataError(
                    f"{found} records for {wanted} examples",
                    where=f"the {split} split of task {self.settings['task']['name']}",
                    fix="lower 'benchmark.examples' or 'benchmark.scoring_examples', or take a larger task",
                )
        self.batch = range(self.own["examples"])
        self.part = range(min(self.own["slow_examples"], self.own["examples"]))
        self.scored = range(self.own["scoring_examples"])
        self.precision = engines.resolve_precision(self.settings["training"]["precision"], self.rank.device)
        self.dtype = engines.dtype_of(self.precision)

    def base(self) -> LlamaForCausalLM:
        """Return the model with random weights, in fp32 on the device."""
        own, tokenizer = self.own, self.tokenizer
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=own["hidden_size"],
            intermediate_size=own["intermediate_size"],
            num_hidden_layers=own["layers"],
            num_attention_heads=own["heads"],
            num_key_value_heads=own["key_value_heads"],
            max_position_embeddings=4096,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return LlamaForCausalLM(config).to(self.rank.device)

    def adapted(self) -> Any:
        """Return the model with a fresh adapter, in fp32 on the device."""
        return models.add_lora(self.base(), self.settings["lora"], seed=0)

    def recipes(self, fit: memory.Fit) -> list[TrainingRecipe]:
        """Return the compared training recipes, dnatune's last, which goes as far as memory allows."""
        return recipes.training_recipes(min(fit.micro_batch_size, len(self.batch)), fit.checkpointing)


def run(bench: Bench) -> dict[str, Any]:
    """Measure everything and return what benchmark.json holds.

    Raises:
        RunError: two recipes disagree, so that no timing means anything.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    peak = max(
        timing.by_turns(
            {"matmul": lambda: accounting.matmul_peak(bench.rank.device, bench.dtype)},
            bench.own["repeats"],
            bench.neighbours,
        )["matmul"]
    )
    _LOG.info("matmul peak %.4g FLOP/s in %s, load average %s", peak, bench.precision, load)
    scoring = _scoring(bench, peak)
    training = _training(bench, peak)
    steps = _optimizer_steps(bench)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            **machine(bench.rank.device),
            "load_average_before": load,
            "others_cores": timing.spread(bench.neighbours.seen) if bench.neighbours.seen else None,
            "repeated_timings": bench.neighbours.repeated,
        },
        "settings": bench.settings,
        "precision": bench.precision,
        "tokens": {
            "vocabulary": len(bench.tokenizer),
            "prefix": len(bench.train.prefix),
            "example_mean": statistics.mean(len(bench.train.examples[i]) for i in bench.batch),
            "labels": [len(label) for label in bench.train.labels],
        },
        "matmul_peak": peak,
        "scoring": scoring,
        "training": training,
        "optimizer_steps": steps,
    }


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on; no host name, no path."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "device": torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "cpu",
    }


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text("utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# Agreement


def check_gradients(
    model: Any, compared: Sequence[TrainingRecipe], examples: EncodedExamples, indices: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Return each recipe's loss and how far its gradient is from the first recipe's, all in fp32.

    Raises:
        RunError: one is too far.
    """
    found: dict[str, dict[str, float]] = {}
    reference: dict[str, torch.Tensor] = {}
    truth = 0.0
    for recipe in compared:
        loss, gradient = recipes.gradient(model, recipe, examples, indices)
        if not reference:
            truth, reference = loss, gradient
        found[recipe.name] = {
            "loss": loss,
            "loss_error": abs(loss - truth) / abs(truth),
            "gradient_error": _distance(gradient, reference),
        }
    _refuse_disagreement({(name, key): row[key] for name, row in found.items() for key in row if key != "loss"})
    return found


def _distance(gradient: Mapping[str, torch.Tensor], reference: Mapping[str, torch.Tensor]) -> float:
    squares = [
        (float((gradient[name] - part).norm()) ** 2, float(part.norm()) ** 2) for name, part in reference.items()
    ]
    apart, size = (sum(column) for column in zip(*squares, strict=True))
    return (apart / size) ** 0.5


def check_scores(
    model: LlamaForCausalLM,
    examples: EncodedExamples,
    indices: Sequence[int],
    end: int,
    batch_size: int,
) -> dict[str, float]:
    """Return how far the recipes' scores are apart, in fp32: largest difference of two log-probabilities, relative.

    The original knows only the first token of a label, which is compared with the same token in padded rows; whole
    labels are compared between padded and shared-prefix rows.

    Raises:
        RunError: they are too far apart.
    """
    rows = recipes.score_in_rows(model, examples, indices, recipes.COMMON_ROWS)
    original = recipes.score_one_by_one(model, examples, indices, end, lambda _: 1)
    shared = label_log_probabilities(
        models.LabelLikelihood(model), examples, indices, batch_size, True, str(model.device)
    )
    errors = {"original": _relative(original.first, rows[:, :, 0]), "shared prefix": _relative(shared, rows.sum(-1))}
    _refuse_disagreement({(name, "score"): error for name, error in errors.items()})
    return errors


def _relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs((found - truth) / truth).max())


def _refuse_disagreement(errors: Mapping[tuple[str, str], float]) -> None:
    for (name, what), error in errors.items():
        if not error <= _TOLERANCE:
            raise RunError(
                f"the recipe '{name}' computes something else: {what.replace('_', ' ')} {error:.1e}, relative",
                where="benchmark, before any timing",
                fix=f"find the cause; {_TOLERANCE:.0e} is allowed, and a benchmark of wrong results says nothing",
            )


def _rates(seconds: float, count: int, executed: int, needed: int, peak: float) -> dict[str, float]:
    """Return rates and FLOPs of a global batch."""
    return {
        "examples_per_second": count / seconds,
        "executed_flops": executed,
        "floor_flops": needed,
        "executed_over_floor": executed / needed,
        # Of what the device could do: what it did, and what it had to do.
        "executed_utilisation": executed / seconds / peak,
        "model_flop_utilisation": needed / seconds / peak,
    }


# Scoring


def _scoring(bench: Bench, peak: float) -> dict[str, Any]:
    """Compare ways to score the same examples with the same plain model."""
    model, test, scored, end = bench.base().eval(), bench.test, bench.scored, bench.tokenizer.eos_token_id
    batch_size = bench.settings["evaluation"]["batch_size"]
    errors = check_scores(model, test, scored, end, batch_size)
    model = model.to(bench.dtype)
    dimensions = accounting.dimensions(model)

    def as_asked(_: int) -> int:
        return recipes.ORIGINAL_NEW_TOKENS

    def as_answered(index: int) -> int:
        """A trained model ends its answer itself, and random weights do not."""
        return len(test.answer(index))

    def shared(size: int) -> Callable[[], Any]:
        likelihood = models.LabelLikelihood(model)
        return lambda: label_log_probabilities(likelihood, test, scored, size, True, bench.rank.device)

    ways: dict[str, Callable[[], Any]] = {
        "original": lambda: recipes.score_one_by_one(model, test, scored, end, as_asked),
        "original, ended answers": lambda: recipes.score_one_by_one(model, test, scored, end, as_answered),
        "common practice": lambda: recipes.score_in_rows(model, test, scored, recipes.COMMON_ROWS),
        "shared prefix": shared(batch_size),
    }
    packed = [packing.pack_scoring(test, part, shared=True) for part in packing.chunks(scored, batch_size)]
    works = {
        "original": recipes.one_by_one_work(test, scored, as_asked),
        "original, ended answers": recipes.one_by_one_work(test, scored, as_answered),
        "common practice": recipes.in_rows_work(test, scored, recipes.COMMON_ROWS),
        "shared prefix": recipes.work_of(packed),
    }
    needed = accounting.scoring_flops(dimensions, _needed(packed))
    with _quiet_generation():
        timing.warm_up(ways)
        seconds = timing.by_turns(
            {name: _timed(way, bench.rank.device) for name, way in ways.items()}, bench.own["repeats"], bench.neighbours
        )
    return {
        "examples": len(scored),
        "labels": len(test.labels),
        "score_errors": errors,
        "recipes": {
            name: {
                "seconds": times,
                **timing.spread(times),
                **_rates(
                    statistics.median(times),
                    len(scored),
                    accounting.scoring_flops(dimensions, works[name]),
                    needed,
                    peak,
                ),
            }
            for name, times in seconds.items()
        },
        "speedup": timing.speedups(seconds, "shared prefix"),
        "rows": _rows(
            bench,
            len(scored),
            lambda size: packing.pack_scoring(test, scored[:size], shared=True),
            lambda size: _timed(shared(size), bench.rank.device),
        ),
    }


def _timed(task: Callable[[], Any], device: str) -> Callable[[], float]:
    def timed() -> float:
        started = now(device)
        task()
        return now(device) - started

    return timed


def _needed(batches: Sequence[packing.PackedBatch]) -> Work:
    return sum((accounting.floor(batch) for batch in batches), Work(0, 0, 0))


@contextlib.contextmanager
def _quiet_generation() -> Iterator[None]:
    """Generation warns once for each call, which would fill the log."""
    logger = logging.getLogger("transformers.generation")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _rows(
    bench: Bench,
    count: int,
    pack: Callable[[int], packing.PackedBatch],
    task: Callable[[int], Callable[[], float]],
) -> list[dict[str, Any]]:
    """Time shared rows of several lengths by turns: all examples in one row, halves of them, and so on.

    Args:
        bench: what is measured with.
        count: examples in all.
        pack: a row of so many examples.
        task: what to time with so many examples in a row.
    """
    halves = [count >> halvings for halvings in range(1, count.bit_length())]
    sizes = [count, *(size for size in halves if size >= _FEWEST_IN_A_ROW)]
    tasks = {str(size): task(size) for size in sizes}
    timing.warm_up(tasks)
    seconds = timing.by_turns(tasks, bench.own["repeats"], bench.neighbours)
    return [
        {
            "examples": size,
            "tokens": pack(size).input_ids.numel(),
            "seconds": seconds[str(size)],
            **timing.spread(seconds[str(size)]),
        }
        for size in sizes
    ]


# Training


class _Trained:
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
        configuration = engines.deepspeed_configuration(training, bench.precision, bench.rank.world, clipping)
        loss = recipes.RecipeLoss(self.model)
        self.engine = engines.start_engine(loss, optimizer, configuration)
        self.engine.train()
        #: What of dnatune's own rows fits into memory.
        self.fit = memory.fit(training, self.model, loss.likelihood, bench.train, True, bench.rank.device, 1)

    def step(self, recipe: TrainingRecipe, indices: Sequence[int], part: int = 0) -> StepTimes:
        """Take an optimizer step on some examples.

        Args:
            recipe: how.
            indices: examples of the batch.
            part: how many examples to take an intermediate time of.
        """
        device = self.bench.rank.device
        tokens = recipes.answer_tokens(self.bench.train, indices)
        # Rows are made beforehand: a real run's are too small a cost to blur the comparison with.
        batches = [b.to(torch.device(device)) for b in recipe.micro_batches(self.bench.train, indices)]
        mark = part // recipe.micro_batch_size
        with memory.checkpointed(self.model, recipe.checkpointing):
            started = now(device)
            halfway = started
            for number, batch in enumerate(batches, start=1):
                self.engine.backward(self.engine(batch, tokens))
                if number == mark:
                    halfway = now(device)
            passed = now(device)
            self.engine.step()
            return StepTimes(halfway - started, passed - started, now(device) - passed)

    def close(self) -> None:
        """Give the memory back."""
        self.engine.destroy()
        del self.engine, self.model
        gc.collect()


def _training(bench: Bench, peak: float) -> dict[str, Any]:
    """Compare ways to take one optimizer step on the same global batch."""
    model = bench.adapted()
    smallest = memory.Fit(recipes.COMMON_ROWS, checkpointing=False)
    agreement = check_gradients(model, bench.recipes(smallest), bench.train, bench.part)
    dimensions = accounting.dimensions(model.get_base_model())
    trained = _Trained(bench, "adamw", model)
    compared = bench.recipes(trained.fit)
    ours = compared[-1]
    for recipe in compared:
        trained.step(recipe, bench.batch if recipe is ours else bench.part[: recipe.micro_batch_size])

    # The slow recipes do the whole batch once, and then, if that shows a constant cost an example, a part of it.
    first = timing.by_turns(
        {r.name: lambda r=r: trained.step(r, bench.batch, len(bench.part)) for r in compared}, 1, bench.neighbours
    )
    constancy = {r.name: _constancy(bench, first[r.name][0]) for r in compared if r is not ours}
    partial = all(abs(ratio - 1) <= _CONSTANT for ratio in constancy.values()) and len(bench.part) < len(bench.batch)
    indices = {r.name: bench.part if partial and r is not ours else bench.batch for r in compared}
    tasks = {r.name: lambda r=r: trained.step(r, indices[r.name]) for r in compared}
    rounds = timing.by_turns(tasks, bench.own["repeats"] - 1, bench.neighbours)
    results, gradients, steps = {}, {}, {}
    needed = accounting.training_flops(dimensions, _needed(ours.micro_batches(bench.train, bench.batch)))
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
            **_rates(
                statistics.median(steps[recipe.name]),
                len(bench.batch),
                accounting.training_flops(dimensions, work, recipe.checkpointing),
                needed,
                peak,
            ),
        }

    def of_size(size: int) -> Callable[[], float]:
        way = dataclasses.replace(ours, micro_batch_size=size)
        return lambda: trained.step(way, bench.batch).gradient

    rows = _rows(
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
    """Return cost an example in the first part of the batch ÷ that in the whole batch."""
    return (times.part / len(bench.part)) / (times.gradient / len(bench.batch))


def _optimizer_steps(bench: Bench) -> dict[str, Any]:
    """Compare an rk4 step with as many sgd steps as it takes gradients, in dnatune's recipe."""
    trained = {method: _Trained(bench, method, bench.adapted()) for method in ("sgd", "rk4")}

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
