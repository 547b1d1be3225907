"""A speed comparison that takes seconds."""

import yaml

from samples import ROOT

SMALL = {
    "original": True,
    "hidden_size": 32,
    "layers": 1,
    "heads": 4,
    "key_value_heads": 2,
    "intermediate_size": 64,
    "examples": 48,
    "slow_examples": 16,
    "scoring_examples": 6,
    "repeats": 2,
    "patience": 0,
    "peers": [],
}


def configuration(**changes) -> dict:
    """Return config/benchmark.yaml with the small comparison and changes of it."""
    config = yaml.safe_load((ROOT / "config/benchmark.yaml").read_text())
    return {**config, "benchmark": {**SMALL, **changes}}
