"""A model folder as a network without weights, and the stored tensors behind each of its parameters."""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    rename_source_key,
)
from transformers.modeling_utils import LoadStateDictConfig
from transformers.utils import logging
from transformers.utils.loading_report import LoadStateDictInfo

from dnatune.errors import ModelError
from dnatune.model import classification
from dnatune.model.classification import Head
from dnatune.model.weight_files import stored_tensors, weight_files

# Progress bars for loading a file are useless in a log file.
logging.disable_progress_bar()
#: What transformers is asked for, without and with a classification head.
KINDS = ("causal language model", "model for sequence classification")
#: Most tensors that a message names.
_NAMED = 3


class Architecture:
    """A model folder: its network, whose parameters have shapes and no memory, and where their values are stored.

    Names of files and of parameters differ where transformers renames or joins weights as it loads them; its own rules
    are applied here.

    Args:
        folder: the model folder.
        head: classification head of the model; None for a causal language model.

    Attributes:
        network: the model, its parameters on torch's meta device, its buffers computed.
        stored: the stored tensors by their name in the files.
        sources: names in the files of the tensors that each parameter is made of.
        drawn: names of the parameters of an untrained head that are drawn, whether or not they are stored.

    Raises:
        ModelError: transformers does not know the architecture, or the files of weights are incomplete.
    """

    def __init__(self, folder: Path, head: Head | None = None):
        self.folder = folder
        self.network = network_of(folder, head)
        self.stored = stored_tensors(weight_files(folder))
        self._rules = get_model_conversion_mapping(self.network)
        self._renamings = [rule for rule in self._rules if isinstance(rule, WeightRenaming)]
        self._converters = [rule for rule in self._rules if isinstance(rule, WeightConverter)]
        parameters, prefix = self.network.state_dict(), self.network.base_model_prefix
        self.sources: dict[str, list[str]] = {}
        for name in self.stored:
            renamed, _ = rename_source_key(name, self._renamings, self._converters, prefix, parameters)
            self.sources.setdefault(renamed, []).append(name)
        self.drawn: set[str] = set()
        if head and head.seed is not None:
            single = {parameter: names[0] for parameter, names in self.sources.items() if len(names) == 1}
            shapes = {parameter: self.stored[name].shape for parameter, name in single.items()}
            self.drawn = classification.drawn_parameters(self.network, shapes)

    def check(self) -> None:
        """Check that every parameter has a stored value of its shape.

        transformers would draw a missing one at random and go on.

        Raises:
            ModelError: tensors are missing or have another shape; the message names the first.
        """
        shapes = {name: torch.empty(one.shape, dtype=one.dtype, device="meta") for name, one in self.stored.items()}
        found = self._load(shapes, "meta")
        # Of tied matrices one is enough.
        self.network.tie_weights(missing_keys=found.missing_keys, recompute_mapping=False)
        self.network._adjust_missing_and_unexpected_keys(found)
        missing = sorted(found.missing_keys - self.drawn)
        wrong = [
            f"{name} ({_shape(there)} where {_shape(due)} is due)"
            for name, there, due in sorted(found.mismatched_keys, key=lambda item: item[0])
            if name not in self.drawn
        ]
        broken = sorted(found.conversion_errors)
        if missing or wrong or broken:
            kinds = (("missing", missing), ("of another shape", wrong), ("not convertible", broken))
            said = "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds if names)
            raise ModelError(
                f"the weights do not fit the model's architecture, {type(self.network).__name__}: {said}",
                where=str(self.folder),
                fix="get a whole copy of the model, or save it again: under ZeRO 3 gather the weights first, and save "
                "a causal language model with its output layer",
            )

    def parameter(self, name: str, read: Callable[[str], torch.Tensor] | None = None) -> torch.Tensor:
        """Return the value of a parameter; of two tied matrices of which one is stored, both have its value.

        Args:
            name: of the parameter.
            read: returns a stored tensor by its name; default: from the files.

        Raises:
            ModelError: transformers makes it of stored tensors in a way that is not followed here.
        """
        read = read or self.read
        names = self.sources.get(name) or self.sources.get(self.partner(name) or "", [])
        if len(names) == 1 and not self._converted(names[0]):
            return read(names[0])
        before = dict(self.network.named_parameters())[name] if names else None
        self._load({source: read(source) for source in names}, "cpu")
        value = self.network.get_parameter(name)
        if before is None or value.is_meta:
            raise ModelError(
                f"{name} is not stored as one tensor, and its parts are not known",
                where=str(self.folder),
                fix="report this with the name of the model",
            )
        parent, _, own = name.rpartition(".")
        self.network.get_submodule(parent)._parameters[own] = before
        return value.detach()

    @property
    def unused(self) -> set[str]:
        """Return the stored parameters that a model with a classification head does not take from the files."""
        if not classification.classifies(self.network):
            return set()
        return self.drawn | (self.sources.keys() - self.network.state_dict().keys())

    def read(self, name: str) -> torch.Tensor:
        """Return a stored tensor."""
        return self.stored[name].read()

    def stored_name(self, parameter: str) -> str | None:
        """Return the name in the files of a parameter that is stored as it is; None if it is tied and not stored.

        Raises:
            ModelError: it is stored in another form.
        """
        names = self.sources.get(parameter, [])
        if len(names) > 1 or (names and self._converted(names[0])) or not (names or self.partner(parameter)):
            raise ModelError(
                f"{parameter} is stored in another form, in which an update cannot be added to it",
                where=str(self.folder),
                fix="leave its module out of 'lora.target_modules' and 'lora.modules_to_save'",
            )
        return names[0] if names else None

    def partner(self, parameter: str) -> str | None:
        """Return the parameter that this one is tied to in the architecture, if any."""
        tied = self.network.all_tied_weights_keys
        return tied.get(parameter) or next((one for one, other in tied.items() if other == parameter), None)

    def _converted(self, name: str) -> bool:
        """Tell whether transformers makes something else of a stored tensor than a parameter of the same values."""
        return rename_source_key(name, self._renamings, self._converters)[1] is not None

    def _load(self, tensors: dict[str, torch.Tensor], device: str) -> LoadStateDictInfo:
        """Put tensors by their names in the files into the network, by transformers' rules."""
        rules = copy.deepcopy(self._rules)
        plan = LoadStateDictConfig(device_map={"": device}, dtype=torch.float32, weight_mapping=rules)
        return convert_and_load_state_dict_in_model(self.network, tensors, plan)[0]


def network_of(folder: Path, head: Head | None = None) -> PreTrainedModel:
    """Return the model of a folder, its parameters on the meta device, its buffers computed.

    Args:
        folder: the model folder.
        head: classification head of the model; None for a causal language model.

    Raises:
        ModelError: transformers does not know the architecture.
    """
    auto = AutoModelForSequenceClassification if head else AutoModelForCausalLM
    try:
        config = (
            classification.configuration(folder, head)
            if head
            else AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        )
        stored = config.dtype
        with init_empty_weights(include_buffers=False):
            network = auto.from_config(config, dtype=torch.float32, trust_remote_code=False).eval()
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        raise ModelError(
            f"the model cannot be built: {str(error).strip().splitlines()[0]}",
            where=str(folder),
            fix=f"use a {KINDS[head is not None]} that transformers can load without remote code",
        ) from None
    network.config.dtype = stored
    return classification.without_unused_pooler(network)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
    return ", ".join(names[:_NAMED]) + more


def _shape(size: Iterable[int]) -> str:
    return "×".join(map(str, size)) or "a number"


@contextlib.contextmanager
def weights_on_demand(model: nn.Module, value: Callable[[str], torch.Tensor]) -> Iterator[None]:
    """Within it, each module gets its parameters just before it computes and drops them after.

    The memory then holds the weights of one module at a time.

    Args:
        model: a network with parameters, and stored buffers, on the meta device.
        value: returns the value of a parameter by its name.
    """
    hooks = []

    def watch(name: str, module: nn.Module) -> None:
        empty = {own: p for own, p in module._parameters.items() if p is not None and p.is_meta}
        buffers = {own: b for own, b in module._buffers.items() if b is not None and b.is_meta}

        def fill(*_: Any) -> None:
            for own in empty:
                module._parameters[own] = nn.Parameter(value(f"{name}.{own}"), requires_grad=False)
            for own in buffers:
                module._buffers[own] = value(f"{name}.{own}")

        def drop(*_: Any) -> None:
            module._parameters.update(empty)
            module._buffers.update(buffers)

        if empty or buffers:
            hooks.append(module.register_forward_pre_hook(fill))
            hooks.append(module.register_forward_hook(drop, always_call=True))

    for name, module in model.named_modules():
        watch(name, module)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
