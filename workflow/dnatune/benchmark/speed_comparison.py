"""Runs all measurements in one process."""

import logging
import os
import statistics
from datetime import UTC, datetime
from typing import Any

from dnatune.benchmark import peers, timing
from dnatune.benchmark.bench import Bench, machine
from dnatune.benchmark.scoring import measure_scoring
from dnatune.benchmark.training import measure_optimizer_steps, measure_training
from dnatune.model import flops

_LOG = logging.getLogger(__name__)


def run(bench: Bench) -> dict[str, Any]:
    """Measure everything and return what benchmark.json holds.

    Raises:
        ConfigurationError: if a peer is not installed.
        RunError: if two recipes compute different results.
    """
    if bench.own.peers:
        peers.require()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    peak = max(
        timing.by_turns(
            {"matmul": lambda: flops.matmul_peak(bench.rank.device, bench.dtype)},
            bench.own.repeats,
            bench.neighbours,
        )["matmul"]
    )
    _LOG.info("matmul peak %.4g FLOP/s in %s, load average %s", peak, bench.precision, load)
    scoring = measure_scoring(bench, peak)
    bench.free()
    training = measure_training(bench, peak)
    steps = measure_optimizer_steps(bench)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            **machine(bench.rank.device),
            "load_average_before": load,
            "others_cores": timing.spread(bench.neighbours.seen) if bench.neighbours.seen else None,
            "repeated_timings": bench.neighbours.repeated,
        },
        "settings": bench.settings.plain(),
        "precision": bench.precision,
        "tokens": {
            "vocabulary": bench.vocabulary,
            "prefix": len(bench.train.prefix),
            "example_mean": statistics.mean(len(bench.train.examples[i]) for i in bench.batch),
            "labels": [len(label) for label in bench.train.labels],
        },
        "matmul_peak": peak,
        "scoring": scoring,
        "training": training,
        "optimizer_steps": steps,
    }
