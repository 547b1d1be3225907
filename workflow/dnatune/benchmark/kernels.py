"""Liger's kernels for a Llama: on while a recipe that uses them is timed, and off again behind it."""

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from dnatune.model.base_models import causal_model

_ABSENT = object()


def liger_usable(device: str) -> bool:
    """Return whether Liger's kernels, which run on GPUs only, are installed and of use on a device."""
    return device != "cpu" and importlib.util.find_spec("liger_kernel") is not None


@contextlib.contextmanager
def liger_kernels(model: PreTrainedModel | PeftModel, wanted: bool) -> Iterator[None]:
    """Replace norms, rotary embedding, SwiGLU and cross-entropy by Liger's within the context, if wanted.

    All of it is undone, because other recipes share the model.
    """
    if not wanted:
        yield
        return
    from liger_kernel.transformers import apply_liger_kernel_to_llama

    causal = causal_model(model)
    with contextlib.ExitStack() as stack:
        stack.enter_context(unchanged_llama())
        spaces = [vars(module) for module in causal.modules()]
        before = [dict(space) for space in spaces]
        apply_liger_kernel_to_llama(model=causal)
        for space, old in zip(spaces, before, strict=True):
            stack.callback(_restore, space, _changed(space, old))
        yield


@contextlib.contextmanager
def unchanged_llama() -> Iterator[None]:
    """Undo what Liger replaces in transformers' module of the Llama: the rotary embedding and classes."""
    from transformers.models.llama import modeling_llama

    before = dict(vars(modeling_llama))
    try:
        yield
    finally:
        _restore(vars(modeling_llama), _changed(vars(modeling_llama), before))


def _changed(space: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return the former values of the names that have another one now."""
    return {name: before.get(name, _ABSENT) for name, value in space.items() if value is not before.get(name, _ABSENT)}


def _restore(space: dict[str, Any], former: dict[str, Any]) -> None:
    for name, value in former.items():
        if value is _ABSENT:
            del space[name]
        else:
            space[name] = value
