"""`training.deepspeed`: keys laid over the DeepSpeed configuration, given as a map or as a JSON file with one."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnatune.errors import DataError, shown
from dnatune.files import read_json
from dnatune.settings.base import refused
from dnatune.settings.plain_values import without_nulls

#: Keys that dnatune derives from its own settings.
OWNED = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "managed_gradient_accumulation",
    "gradient_clipping",
    "optimizer",
    "scheduler",
    "fp16.enabled",
    "bf16.enabled",
    "zero_optimization.stage",
    "zero_optimization.elastic_checkpoint",
)
#: What a checkpoint of dnatune does not hold if it lies on NVMe.
_OFFLOADED = ("zero_optimization.offload_optimizer.device", "zero_optimization.offload_param.device")


def read_keys(given: dict[str, Any] | str) -> dict[str, Any]:
    """Return the keys themselves, so that a file counts by its content and another path to it changes nothing.

    Args:
        given: the keys, or the path of a JSON file; a relative one begins at the current folder.

    Raises:
        PydanticCustomError: the file is missing or holds no map, or a key is one that dnatune owns.
    """
    keys: Any = given
    if isinstance(given, str):
        try:
            keys = read_json(Path(given))
        except (DataError, OSError) as error:
            said = error.what if isinstance(error, DataError) else error.strerror
            raise refused("", f"{shown(given)}: {said}", "give the path of a JSON file, or its keys") from None
        if not isinstance(keys, dict):
            raise refused("", f"{shown(given)} does not hold a map", "give a file of DeepSpeed's keys")
        # experiment.json holds the content, and is read without nulls.
        keys = without_nulls(keys, given, "")
    for key in OWNED:
        if (value := _at(keys, key)) not in (None, "auto"):
            said = json.dumps(value)[:60]
            raise refused(
                key, f"'{key}' = {said} cannot be set here, because dnatune sets it", "set it under 'training'"
            )
    for key in _OFFLOADED:
        if _at(keys, key) == "nvme":
            raise refused(key, "checkpoints do not hold what DeepSpeed keeps on NVMe", "offload to the CPU")
    return keys


def _at(keys: Any, path: str) -> Any:
    for word in path.split("."):
        keys = keys.get(word) if isinstance(keys, Mapping) else None
    return keys
