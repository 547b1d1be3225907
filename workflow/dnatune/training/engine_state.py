"""The state of a DeepSpeed engine as a tree of tensors, numbers and texts, and back.

DeepSpeed's own checkpoints are pickles, which run code when they are read. Here its wrappers of the optimizer hand over
and take back their state (`state_dict`, `load_state_dict` in DeepSpeed's runtime/), and everything else is dnatune's.
The loop draws its random numbers from seed and step, so there is no state of generators.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from dnatune.errors import DataError

#: What DeepSpeed adds for its conversion tools and never reads when it resumes.
_UNUSED = ("param_slice_mappings",)
_LOSS_SCALER = "loss_scaler"
_COUNTERS = ("global_steps", "global_samples", "skipped_steps")


def take(engine: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what all ranks have in common, and the part of this rank; all ranks call this together.

    Common are the counters and, unless ZeRO 3 shards them, the trained weights and the model's buffers. A rank's own
    part is the optimizer's state with the full-precision weights, of which ZeRO gives each rank a shard, and the
    numbers of the fp16 loss scaler.
    """
    with _at_rest(engine):
        own = {key: value for key, value in engine.optimizer.state_dict().items() if key not in _UNUSED}
        if _LOSS_SCALER in own:
            own[_LOSS_SCALER] = _numbers(own[_LOSS_SCALER])
        counters = {name: getattr(engine, name) for name in _COUNTERS}
        return {"counters": counters, "module": _module_tensors(engine)}, own


def put_back(engine: Any, common: dict[str, Any], own: dict[str, Any]) -> None:
    """Give an engine the state that `take` returned on this rank; all ranks call this together.

    Raises:
        DataError: the state is of another model, or of another kind of engine.
    """
    tensors = _module_tensors(engine)
    if common["module"].keys() != tensors.keys():
        raise DataError("the checkpoint holds other weights than the model trains", fix="delete its folder")
    with _at_rest(engine):
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(common["module"][name])
        optimizer, own = engine.optimizer, dict(own)
        if _LOSS_SCALER in own:
            vars(optimizer.loss_scaler).update(_of_same_kind(own[_LOSS_SCALER], optimizer.loss_scaler))
            own[_LOSS_SCALER] = optimizer.loss_scaler
        if engine.zero_optimization():
            # DeepSpeed wants a list with the parts of all ranks, and takes this rank's.
            parts = [own] * torch.distributed.get_world_size()
            optimizer.load_state_dict(state_dict_list=parts, load_optimizer_states=True, load_from_fp32_weights=True)
        else:
            optimizer.load_state_dict(own)
        for name in _COUNTERS:
            setattr(engine, name, common["counters"][name])


@contextlib.contextmanager
def _at_rest(engine: Any) -> Iterator[None]:
    """Have ZeRO 3 shard all parameters within the context, also the small ones that it keeps whole between steps."""
    partitions = hasattr(engine.optimizer, "checkpoint_event_prologue")
    if partitions:
        engine.optimizer.checkpoint_event_prologue()
    yield
    if partitions:
        engine.optimizer.checkpoint_event_epilogue()


def _module_tensors(engine: Any) -> dict[str, torch.Tensor]:
    """Return the trained parameters, unless they are in the optimizer's shards, and the buffers."""
    module = engine.module
    trained = {name: parameter.data for name, parameter in module.named_parameters() if parameter.requires_grad}
    whole = {} if engine.zero_optimization_partition_weights() else trained
    return {**whole, **dict(module.named_buffers())}


def _numbers(scaler: Any) -> dict[str, float]:
    return {name: value for name, value in vars(scaler).items() if isinstance(value, int | float)}


def _of_same_kind(saved: dict[str, float], scaler: Any) -> dict[str, float]:
    if saved.keys() != _numbers(scaler).keys():
        raise DataError("the checkpoint is of a run with another loss scaler", fix="delete its folder")
    return saved
