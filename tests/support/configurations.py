"""A configuration with some keys changed."""

import copy

import yaml

from samples import ROOT

_SHIPPED = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
#: The demo of one epoch with a tiny model of random weights and three optimizers.
DEMO = {
    **_SHIPPED,
    "models": {"tiny": {"source": "tiny"}},
    "seeds": [0, 1],
    "budget": {"epochs": 1},
    "optimizers": {
        "adamw": {"learning_rate": 3.0e-3, "weight_decay": 0.01},
        "rk4": {"learning_rate": 0.3, "weight_decay": 0.01},
        "rk4_single_gradient": {"learning_rate": 0.3, "weight_decay": 0.01},
    },
    "comparison": {},
}


def changed(path, value):
    """The demo with one key set; a path such as 'models.tiny.source'."""
    config = copy.deepcopy(DEMO)
    *above, last = path.split(".")
    part = config
    for key in above:
        part = part.setdefault(key, {})
    part[last] = value
    return config
