"""The speed comparison: recipes timed by turns in one process, after a proof that they compute the same."""

import contextlib
import dataclasses
import gc
import logging
import math
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from dnatune import accounting, engines, models, optimizers, packing, recipes
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
#: Cores that others may use, on average, while a timing counts as undisturbed; and seconds of a look at them.
_QUIET, _LISTEN = 0.1, 2.0


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
        self.neighbours = Neighbours(self.own["patience"])
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

    def recipes(self) -> list[TrainingRecipe]:
        """Return the compared training recipes, dnatune's last."""
        size = min(self.settings["training"]["micro_batch_size"], len(self.batch))
        return recipes.training_recipes(size, packing.examples_per_row(self.train))


def run(bench: Bench) -> dict[str, Any]:
    """Measure everything and return what benchmark.json holds.

    Raises:
        RunError: two recipes disagree, so that no timing means anything.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    peak = max(
        by_turns(
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
            "others_cores": spread(bench.neighbours.seen) if bench.neighbours.seen else None,
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
    examples_per_row: int,
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
        models.LabelLikelihood(model), examples, indices, batch_size, examples_per_row, str(model.device)
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


# Timing


class Neighbours:
    """What other processes take of this machine's cores meanwhile, by Linux's counters; elsewhere nothing is known.

    A multiplication that shares its cores waits at every barrier of its threads, and small ones suffer most: what
    disturbs a timing disturbs the recipes unequally.

    Args:
        patience: seconds, in all, to spend on waiting for quiet and on repeating what was disturbed.
    """

    _COUNTERS = Path("/proc/stat")

    def __init__(self, patience: float):
        self.patience = patience
        self.seen: list[float] = []
        self.repeated = 0

    def busy(self) -> float | None:
        """Return core-seconds that others have used since the machine started."""
        if not self._COUNTERS.is_file():
            return None
        # user, nice, system, idle, waiting, interrupts and soft ones, stolen; a guest's time is in the user's.
        ticks = [int(word) for word in self._COUNTERS.read_text("utf-8").split("\n", 1)[0].split()[1:9]]
        own = resource.getrusage(resource.RUSAGE_SELF)
        used = sum(ticks) - ticks[3] - ticks[4]
        return used / os.sysconf("SC_CLK_TCK") - own.ru_utime - own.ru_stime

    def undisturbed(self, task: Callable[[], Any]) -> Any:
        """Return what a task returns, done in quiet as far as patience lasts."""
        while True:
            self._wait()
            result, cores, seconds = self._observe(task)
            if cores is None or cores <= _QUIET or self.patience <= 0:
                if cores is not None:
                    self.seen.append(cores)
                return result
            self.patience -= seconds
            self.repeated += 1
            _LOG.info("done again: others used %.2f cores meanwhile", cores)

    def _wait(self) -> None:
        while self.patience > 0:
            _, cores, seconds = self._observe(lambda: time.sleep(_LISTEN))
            if cores is None or cores <= _QUIET:
                return
            self.patience -= seconds

    def _observe(self, task: Callable[[], Any]) -> tuple[Any, float | None, float]:
        before, started = self.busy(), time.perf_counter()
        result = task()
        after, seconds = self.busy(), time.perf_counter() - started
        if before is None or after is None:
            return result, None, seconds
        return result, max(0.0, after - before) / seconds, seconds


def by_turns(tasks: Mapping[str, Callable[[], Any]], repeats: int, neighbours: Neighbours) -> dict[str, list[Any]]:
    """Return what each task returned each time; the tasks take turns, so that a slow minute meets all of them."""
    results: dict[str, list[Any]] = {name: [] for name in tasks}
    for repeat in range(repeats):
        for name, task in tasks.items():
            gc.collect()
            results[name].append(neighbours.undisturbed(task))
            _LOG.info("round %d of %d: %s done", repeat + 1, repeats, name)
    return results


def warm_up(tasks: Mapping[str, Callable[[], Any]]) -> None:
    """Do each task once: memory is first touched, kernels are first chosen."""
    for task in tasks.values():
        task()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, least and greatest."""
    return {"median": statistics.median(values), "least": min(values), "greatest": max(values)}


def speedups(seconds: Mapping[str, Sequence[float]], fastest: str) -> dict[str, dict[str, float]]:
    """Return how many times as long each recipe takes as `fastest`; pairs of one round give the range."""
    return {
        name: {
            **spread([slow / fast for slow, fast in zip(values, seconds[fastest], strict=True)]),
            "median": statistics.median(values) / statistics.median(seconds[fastest]),
        }
        for name, values in seconds.items()
        if name != fastest
    }


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
    batch_size, per_row = bench.settings["evaluation"]["batch_size"], packing.examples_per_row(test, scoring=True)
    errors = check_scores(model, test, scored, end, batch_size, per_row)
    model = model.to(bench.dtype)
    dimensions = accounting.dimensions(model)

    def as_asked(_: int) -> int:
        return recipes.ORIGINAL_NEW_TOKENS

    def as_answered(index: int) -> int:
        """A trained model ends its answer itself, and random weights do not."""
        return len(test.answer(index))

    def shared(examples_per_row: int) -> Callable[[], Any]:
        likelihood = models.LabelLikelihood(model)
        return lambda: label_log_probabilities(
            likelihood, test, scored, batch_size, examples_per_row, bench.rank.device
        )

    ways: dict[str, Callable[[], Any]] = {
        "original": lambda: recipes.score_one_by_one(model, test, scored, end, as_asked),
        "original, ended answers": lambda: recipes.score_one_by_one(model, test, scored, end, as_answered),
        "common practice": lambda: recipes.score_in_rows(model, test, scored, recipes.COMMON_ROWS),
        "shared prefix": shared(per_row),
    }
    packed = [packing.pack_scoring(test, part, per_row) for part in packing.chunks(scored, batch_size)]
    works = {
        "original": recipes.one_by_one_work(test, scored, as_asked),
        "original, ended answers": recipes.one_by_one_work(test, scored, as_answered),
        "common practice": recipes.in_rows_work(test, scored, recipes.COMMON_ROWS),
        "shared prefix": recipes.work_of(packed),
    }
    needed = accounting.scoring_flops(dimensions, _needed(packed))
    with _quiet_generation():
        warm_up(ways)
        seconds = by_turns(
            {name: _timed(way, bench.rank.device) for name, way in ways.items()}, bench.own["repeats"], bench.neighbours
        )
    return {
        "examples": len(scored),
        "labels": len(test.labels),
        "score_errors": errors,
        "recipes": {
            name: {
                "seconds": times,
                **spread(times),
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
        "speedup": speedups(seconds, "shared prefix"),
        "row_lengths": _row_lengths(
            bench,
            len(scored[:batch_size]),
            lambda per_row: packing.pack_scoring(test, scored[:batch_size], per_row),
            lambda per_row: _timed(shared(per_row), bench.rank.device),
            len(test.prefix),
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


def _row_lengths(
    bench: Bench,
    count: int,
    pack: Callable[[int], packing.PackedBatch],
    task: Callable[[int], Callable[[], float]],
    prefix: int,
) -> list[dict[str, Any]]:
    """Time shared rows of several lengths by turns.

    Args:
        bench: what is measured with.
        count: examples of one forward pass.
        pack: rows of so many examples.
        task: what to time with so many examples in a row.
        prefix: tokens of the shared prefix.
    """
    own = pack(1).input_ids.shape[1] - prefix
    most = {tokens: max(1, (tokens - prefix) // own) for tokens in bench.own["row_tokens"]}
    # As many rows as that takes, filled alike: a last row with few examples is mostly padding.
    lengths = {tokens: math.ceil(count / math.ceil(count / limit)) for tokens, limit in most.items()}
    tasks = {str(tokens): task(per_row) for tokens, per_row in lengths.items()}
    warm_up(tasks)
    seconds = by_turns(tasks, bench.own["repeats"], bench.neighbours)
    return [
        {
            "row_tokens": tokens,
            "examples_per_row": per_row,
            "seconds": seconds[str(tokens)],
            **spread(seconds[str(tokens)]),
        }
        for tokens, per_row in lengths.items()
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
        self.engine = engines.start_engine(recipes.RecipeLoss(self.model), optimizer, configuration)
        self.engine.train()

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
        with recipes.checkpointed(self.model, recipe.checkpointing):
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
    compared = bench.recipes()
    ours = compared[-1]
    model = bench.adapted()
    agreement = check_gradients(model, compared, bench.train, bench.part)
    dimensions = accounting.dimensions(model.get_base_model())
    trained = _Trained(bench, "adamw", model)
    for recipe in compared:
        trained.step(recipe, bench.batch if recipe is ours else bench.part[: recipe.micro_batch_size])

    # The slow recipes do the whole batch once, and then, if that shows a constant cost an example, a part of it.
    first = by_turns(
        {r.name: lambda r=r: trained.step(r, bench.batch, len(bench.part)) for r in compared}, 1, bench.neighbours
    )
    constancy = {r.name: _constancy(bench, first[r.name][0]) for r in compared if r is not ours}
    partial = all(abs(ratio - 1) <= _CONSTANT for ratio in constancy.values()) and len(bench.part) < len(bench.batch)
    indices = {r.name: bench.part if partial and r is not ours else bench.batch for r in compared}
    tasks = {r.name: lambda r=r: trained.step(r, indices[r.name]) for r in compared}
    rounds = by_turns(tasks, bench.own["repeats"] - 1, bench.neighbours)
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
            "gradient_seconds": spread(gradients[recipe.name]),
            "optimizer_seconds": spread([times.optimizer for times in scaled]),
            "step_seconds": spread(steps[recipe.name]),
            **_rates(
                statistics.median(steps[recipe.name]),
                len(bench.batch),
                accounting.training_flops(dimensions, work, recipe.checkpointing),
                needed,
                peak,
            ),
        }

    def rows_of(per_row: int) -> TrainingRecipe:
        return dataclasses.replace(ours, micro_batch_size=len(bench.batch), examples_per_row=per_row)

    lengths = _row_lengths(
        bench,
        len(bench.batch),
        lambda per_row: packing.pack_training(bench.train, bench.batch, per_row),
        lambda per_row: lambda: trained.step(rows_of(per_row), bench.batch).gradient,
        len(bench.train.prefix),
    )
    micro_batches = _micro_batches(bench, trained, ours)
    trained.close()
    return {
        "examples": len(bench.batch),
        "dimensions": dataclasses.asdict(dimensions),
        "agreement": agreement,
        "constancy": {"part_examples": len(bench.part), "part_over_whole": constancy, "part_used": partial},
        "recipes": results,
        "speedup_forward_backward": speedups(gradients, ours.name),
        "speedup_step": speedups(steps, ours.name),
        "row_lengths": lengths,
        "micro_batches": micro_batches,
    }


def _constancy(bench: Bench, times: StepTimes) -> float:
    """Return cost an example in the first part of the batch ÷ that in the whole batch."""
    return (times.part / len(bench.part)) / (times.gradient / len(bench.batch))


def _micro_batches(bench: Bench, trained: _Trained, ours: TrainingRecipe) -> list[dict[str, Any]]:
    """Time dnatune's rows with several micro-batch sizes by turns: halves of the global batch, down to 16."""
    sizes = [len(bench.batch)]
    while sizes[-1] // 2 >= recipes.COMMON_ROWS:
        sizes.append(sizes[-1] // 2)
    ways = {size: dataclasses.replace(ours, micro_batch_size=size) for size in sizes}
    tasks = {str(size): lambda way=way: trained.step(way, bench.batch).gradient for size, way in ways.items()}
    warm_up(tasks)
    seconds = by_turns(tasks, bench.own["repeats"], bench.neighbours)
    return [{"micro_batch_size": size, "seconds": seconds[str(size)], **spread(seconds[str(size)])} for size in sizes]


def _optimizer_steps(bench: Bench) -> dict[str, Any]:
    """Compare an rk4 step with as many sgd steps as it takes gradients, in dnatune's recipe."""
    ours = bench.recipes()[-1]
    trained = {method: _Trained(bench, method, bench.adapted()) for method in ("sgd", "rk4")}

    def four(method: str) -> Callable[[], float]:
        return lambda: sum(trained[method].step(ours, bench.batch).whole for _ in range(_RK4_STAGES))

    tasks = {method: four(method) for method in trained}
    warm_up(tasks)
    seconds = by_turns(tasks, bench.own["repeats"], bench.neighbours)
    for each in trained.values():
        each.close()
    ratio = {
        key: _RK4_STAGES * value
        for key, value in speedups({"rk4": seconds["rk4"], "sgd": seconds["sgd"]}, "sgd")["rk4"].items()
    }
    return {
        "four_sgd_steps_seconds": seconds["sgd"],
        "rk4_step_seconds": seconds["rk4"],
        "rk4_over_sgd_step": ratio,
    }


# What is shown


def table(result: Mapping[str, Any]) -> str:
    """Return the measured figures as Markdown tables."""
    where = result["machine"]
    training, scoring = result["training"], result["scoring"]
    lines = [
        f"{where['cpu'] if where['device'] == 'cpu' else where['device']}, {where['cores']} cores, "
        f"{result['precision']}, {result['tokens']['vocabulary']:,} pieces, "
        f"matmul peak {result['matmul_peak'] / 1e9:,.0f} GFLOP/s",
        "",
        f"Training, one optimizer step on {training['examples']} examples: seconds, median (range)",
        "",
        "| recipe | forward + backward | whole step | dnatune is faster by: forward + backward | whole step "
        "| executed ÷ floor FLOPs | MFU |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in training["recipes"].items():
        faster = (_times(training[key].get(name)) for key in ("speedup_forward_backward", "speedup_step"))
        lines.append(
            f"| {name} | {_range(row['gradient_seconds'])} | {_range(row['step_seconds'])} | {' | '.join(faster)} "
            f"| {row['executed_over_floor']:.2f} | {row['model_flop_utilisation']:.1%} |"
        )
    lines += [
        "",
        f"Scoring {scoring['examples']} examples with {scoring['labels']} labels: seconds, median (range)",
        "",
        "| recipe | seconds | dnatune is faster by | executed ÷ floor FLOPs | MFU |",
        "|---|---|---|---|---|",
    ]
    for name, row in scoring["recipes"].items():
        lines.append(
            f"| {name} | {_range(row)} | {_times(scoring['speedup'].get(name))} "
            f"| {row['executed_over_floor']:.2f} | {row['model_flop_utilisation']:.1%} |"
        )
    lines += [
        "",
        "Row length: seconds, median (range)",
        "",
        "| tokens | training: examples a row | forward + backward | scoring: examples a row | seconds |",
        "|---|---|---|---|---|",
    ]
    for train, score in zip(training["row_lengths"], scoring["row_lengths"], strict=True):
        lines.append(
            f"| {train['row_tokens']} | {train['examples_per_row']} | {_range(train)} "
            f"| {score['examples_per_row']} | {_range(score)} |"
        )
    lines += ["", "Micro-batch: seconds, median (range)", "", "| examples | forward + backward |", "|---|---|"]
    lines += [f"| {row['micro_batch_size']} | {_range(row)} |" for row in training["micro_batches"]]
    ratio = result["optimizer_steps"]["rk4_over_sgd_step"]
    lines += ["", f"An rk4 step costs {_range(ratio)} sgd steps."]
    return "\n".join(lines)


def _range(values: Mapping[str, float]) -> str:
    return f"{values['median']:.3g} ({values['least']:.3g}–{values['greatest']:.3g})"


def _times(values: Mapping[str, float] | None) -> str:
    return "" if values is None else f"{values['median']:.1f} × ({values['least']:.1f}–{values['greatest']:.1f})"


def figure(result: Mapping[str, Any]) -> str:
    """Return seconds of each recipe and of each row length as SVG."""
    import altair as alt
    import vl_convert

    training, scoring = result["training"], result["scoring"]
    bars = [
        *_bars(
            f"training, {training['examples']} examples", {n: r["step_seconds"] for n, r in training["recipes"].items()}
        ),
        *_bars(f"scoring, {scoring['examples']} examples", scoring["recipes"]),
    ]
    panels = []
    for panel in dict.fromkeys(bar["panel"] for bar in bars):
        rows = alt.Chart(alt.InlineData([bar for bar in bars if bar["panel"] == panel]))
        recipe = alt.Y("recipe:N", sort=None, title=None)
        seconds = alt.X("median:Q", title="seconds", axis=alt.Axis(tickCount=5))
        panels.append(
            alt.layer(
                rows.mark_bar(color="#0072b2", size=18).encode(x=seconds, y=recipe),
                rows.mark_rule(color="#333333").encode(x="least:Q", x2="greatest:Q", y=recipe),
                rows.mark_text(align="left", dx=6, color="#333333").encode(x="greatest:Q", y=recipe, text="label:N"),
            ).properties(title=panel, width=330, height=28 * len(rows.data.values))
        )
    points = [
        {"panel": what, "tokens": row["row_tokens"], "relative": row["median"] / min(r["median"] for r in rows)}
        for what, rows in (("training", training["row_lengths"]), ("scoring", scoring["row_lengths"]))
        for row in rows
    ]
    lines = (
        alt.Chart(alt.InlineData(points))
        .mark_line(point=True)
        .encode(
            x=alt.X("tokens:Q", title="tokens of a shared row"),
            y=alt.Y("relative:Q", title="seconds ÷ least", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "panel:N", title=None, scale=alt.Scale(domain=["training", "scoring"], range=["#0072b2", "#d55e00"])
            ),
        )
        .properties(title="row length", width=260, height=170)
    )
    chart = alt.hconcat(alt.vconcat(*panels), lines).configure(
        background="white", font="Helvetica, Arial, sans-serif", view=alt.ViewConfig(stroke=None), aria=False
    )
    return vl_convert.vegalite_to_svg(chart.to_dict())


def _bars(panel: str, rows: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    best = rows["shared prefix"]["median"]
    return [
        {
            "panel": panel,
            "recipe": name,
            **{key: row[key] for key in ("median", "least", "greatest")},
            "label": f"{row['median']:.3g} s" + ("" if row["median"] == best else f", {row['median'] / best:.1f} ×"),
        }
        for name, row in rows.items()
    ]
