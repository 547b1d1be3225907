"""Times the recipes that score the same examples with the same model."""

import contextlib
import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from dnatune.benchmark import recipes, timing
from dnatune.benchmark.agreement import check_scores
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.row_lengths import fits, time_rows
from dnatune.model import flops, label_likelihood, micro_batch
from dnatune.model.scoring import label_log_probabilities, scored_tokens
from dnatune.model.shared_prefix import packing

#: Items of the warm-up of a recipe that scores one item at a time.
_WARM_ITEMS = 8


def measure_scoring(bench: Bench, peak: float) -> dict[str, Any]:
    """Compare the recipes that score the same examples with the same model, which has no adapter."""
    test, scored, end = bench.test, bench.scored, bench.tokenizer.eos_token_id
    tokens, asked = scored_tokens(test, shared=True), bench.settings.evaluation.batch_size
    batch_size = micro_batch.scoring_batch(asked, tokens, len(scored), bench.rank.device)
    layers, errors = bench.with_layers_that_fit(
        lambda layers: check_scores(bench.base(torch.float32, layers).eval(), test, scored, end, batch_size)
    )
    bench.free()
    model = bench.base(bench.dtype).eval()
    dimensions = flops.dimensions(model)

    def shared(size: int) -> Callable[[], Any]:
        likelihood = label_likelihood.LabelLikelihood(model)
        return lambda: label_log_probabilities(likelihood, test, scored, size, True, bench.rank.device, halve=False)

    def one_by_one(new_tokens: Callable[[int], int], indices: Sequence[int]) -> Callable[[], Any]:
        return lambda: recipes.score_one_by_one(model, test, indices, end, new_tokens)

    def in_rows(rows: int) -> Callable[[], Any]:
        return lambda: recipes.score_in_rows(model, test, scored, rows)

    common = _common_rows(bench, in_rows)
    batched = {"common practice": in_rows(common), recipes.OWN: shared(batch_size)}
    slow: dict[str, Callable[[int], int]] = {
        "original": lambda _: recipes.ORIGINAL_NEW_TOKENS,
        # A trained model ends its output there, but random weights do not end it.
        "original, stopped at label end": lambda index: len(test.answer(index)),
    }
    if not bench.own.original:
        slow.clear()
    ways = {**{name: one_by_one(limit, scored) for name, limit in slow.items()}, **batched}
    packed = [packing.pack_scoring(test, part, shared=True) for part in packing.chunks(scored, batch_size)]
    works = {
        **{name: recipes.one_by_one_work(test, scored, limit) for name, limit in slow.items()},
        "common practice": recipes.in_rows_work(test, scored, common),
        recipes.OWN: recipes.work_of(packed),
    }
    needed = flops.scoring_flops(dimensions, recipes.floor_work(packed))
    device = bench.rank.device
    with _quiet_generation():
        first = scored[:_WARM_ITEMS]
        timing.warm_up({**{name: one_by_one(limit, first) for name, limit in slow.items()}, **batched})
        tasks = {name: timing.timed(way, device) for name, way in ways.items()}
        seconds = timing.by_turns(tasks, bench.own.repeats, bench.neighbours)
    rows = time_rows(
        bench,
        len(scored),
        lambda size: packing.pack_scoring(test, scored[:size], shared=True),
        lambda size: timing.timed(shared(size), device),
    )

    def result(name: str, times: Sequence[float]) -> dict[str, Any]:
        executed = flops.scoring_flops(dimensions, works[name])
        of_batch = timing.rates(statistics.median(times), len(scored), executed, needed, peak)
        return {"seconds": times, **timing.spread(times), **of_batch}

    return {
        "examples": len(scored),
        "labels": len(test.labels),
        "score_errors": errors,
        "score_errors_layers": layers,
        "recipes": {name: result(name, times) for name, times in seconds.items()},
        "common_practice_rows": common,
        "speedup": timing.speedups(seconds, recipes.OWN),
        "rows": rows,
    }


def _common_rows(bench: Bench, in_rows: Callable[[int], Callable[[], Any]]) -> int:
    """Return the rows per forward pass of common practice: on a GPU the most that fit, halved from all."""
    if bench.rank.device == "cpu":
        return recipes.COMMON_ROWS
    rows = len(bench.scored) * len(bench.test.labels)
    while rows > 1 and not fits(in_rows(rows)):
        rows = -(-rows // 2)
    return rows


@contextlib.contextmanager
def _quiet_generation() -> Iterator[None]:
    """Silence generation, which would warn once per call and fill the log."""
    logger = logging.getLogger("transformers.generation")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
