"""Times the recipes that score the same examples with the same model."""

import contextlib
import logging
import statistics
from collections.abc import Callable, Iterator
from typing import Any

from dnatune.benchmark import recipes, timing
from dnatune.benchmark.agreement import check_scores
from dnatune.benchmark.bench import Bench
from dnatune.benchmark.row_lengths import time_rows
from dnatune.model import base_models, flops, micro_batch
from dnatune.model.scoring import label_log_probabilities, scored_tokens
from dnatune.model.shared_prefix import packing


def measure_scoring(bench: Bench, peak: float) -> dict[str, Any]:
    """Compare the recipes that score the same examples with the same model, which has no adapter."""
    model, test, scored, end = bench.base().eval(), bench.test, bench.scored, bench.tokenizer.eos_token_id
    tokens, asked = scored_tokens(test, shared=True), bench.settings.evaluation.batch_size
    batch_size = micro_batch.scoring_batch(asked, tokens, len(scored), bench.rank.device)
    errors = check_scores(model, test, scored, end, batch_size)
    model = model.to(bench.dtype)
    dimensions = flops.dimensions(model)

    def up_to_limit(_: int) -> int:
        return recipes.ORIGINAL_NEW_TOKENS

    def up_to_label_end(index: int) -> int:
        """Return the label's length: a trained model ends its output there, but random weights do not end it."""
        return len(test.answer(index))

    def shared(size: int) -> Callable[[], Any]:
        likelihood = base_models.LabelLikelihood(model)
        return lambda: label_log_probabilities(likelihood, test, scored, size, True, bench.rank.device, halve=False)

    ways: dict[str, Callable[[], Any]] = {
        "original": lambda: recipes.score_one_by_one(model, test, scored, end, up_to_limit),
        "original, stopped at label end": lambda: recipes.score_one_by_one(model, test, scored, end, up_to_label_end),
        "common practice": lambda: recipes.score_in_rows(model, test, scored, recipes.COMMON_ROWS),
        "shared prefix": shared(batch_size),
    }
    packed = [packing.pack_scoring(test, part, shared=True) for part in packing.chunks(scored, batch_size)]
    works = {
        "original": recipes.one_by_one_work(test, scored, up_to_limit),
        "original, stopped at label end": recipes.one_by_one_work(test, scored, up_to_label_end),
        "common practice": recipes.in_rows_work(test, scored, recipes.COMMON_ROWS),
        "shared prefix": recipes.work_of(packed),
    }
    needed = flops.scoring_flops(dimensions, recipes.floor_work(packed))
    device = bench.rank.device
    with _quiet_generation():
        timing.warm_up(ways)
        tasks = {name: timing.timed(way, device) for name, way in ways.items()}
        seconds = timing.by_turns(tasks, bench.own.repeats, bench.neighbours)
    rows = time_rows(
        bench,
        len(scored),
        lambda size: packing.pack_scoring(test, scored[:size], shared=True),
        lambda size: timing.timed(shared(size), device),
    )
    results = {}
    for name, times in seconds.items():
        executed = flops.scoring_flops(dimensions, works[name])
        of_batch = timing.rates(statistics.median(times), len(scored), executed, needed, peak)
        results[name] = {"seconds": times, **timing.spread(times), **of_batch}
    return {
        "examples": len(scored),
        "labels": len(test.labels),
        "score_errors": errors,
        "recipes": results,
        "speedup": timing.speedups(seconds, "shared prefix"),
        "rows": rows,
    }


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
