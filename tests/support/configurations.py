"""A configuration with some keys changed."""

import copy

import yaml

from samples import ROOT

_SHIPPED = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
#: The demo of one epoch with a tiny model of random weights.
DEMO = {**_SHIPPED, "models": {"tiny": {"source": "tiny"}}, "budget": {"epochs": 1}, "comparison": {}}


def changed(path, value):
    """The demo with one key set; a path such as 'models.tiny.source'."""
    config = copy.deepcopy(DEMO)
    *above, last = path.split(".")
    part = config
    for key in above:
        part = part.setdefault(key, {})
    part[last] = value
    return config
