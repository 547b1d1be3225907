"""Classification heads: encoders, and other models that transformers can give a head with an output for each class.

A head is what the class for sequence classification adds to a base model, and the pooler of the base model. Its last
linear layer has one output per class and is always drawn anew; of the rest, what the base model has stored is kept.
"""

import contextlib
import copy
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from dnatune.errors import ModelError
from dnatune.files import read_json
from dnatune.model.shared_prefix.packing import PackedBatch
from dnatune.settings.training import Lora

_SUFFIX = "ForSequenceClassification"
_POOLER = "pooler"
#: Types of models that compute a pooler and do not use it for classification.
_POOLER_UNUSED = ("big_bird",)
#: A module of a layer whose name says that it is part of the attention: the layer's number, then its name there.
_OF_ATTENTION = re.compile(r".*\.[0-9]+\.(.*att(?:ention|n).*)")
#: Modules that peft's class for this task trains in full without being told.
_TRAINED_BY_PEFT = ("classifier", "score")


@dataclasses.dataclass(frozen=True)
class Head:
    """A classification head.

    Attributes:
        labels: label word of each class.
        seed: seed of the weights that are drawn; None if the folder has a trained head.
    """

    labels: tuple[str, ...]
    seed: int | None = None


def trained_head(folder: Path) -> Head | None:
    """Return the head that the configuration of a folder names; None if it is that of another kind of model.

    Args:
        folder: of a merged model, or of an adapter, beside which the configuration of its model is.
    """
    path = folder / "config.json"
    content = read_json(path) if path.is_file() else {}
    if not any(name.endswith(_SUFFIX) for name in content.get("architectures") or []):
        return None
    # It names no classes whose words are transformers' own.
    classes = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).id2label
    return Head(tuple(classes[index] for index in range(len(classes))))


def classifies(model: PreTrainedModel) -> bool:
    """Tell whether a model has a classification head."""
    return type(model).__name__.endswith(_SUFFIX)


def configuration(folder: Path, head: Head) -> PreTrainedConfig:
    """Return the configuration of a model folder with the classes of a head.

    Block-sparse attention is replaced by the full one: which blocks see each other depends on the padding, and
    transformers turns it off for good at the first short batch.

    Raises:
        ModelError: the model is an encoder with a decoder.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config.is_encoder_decoder:
        raise ModelError(
            "the model is an encoder with a decoder, whose classification head is not supported",
            where=str(folder),
            fix="choose an encoder, such as BERT, ESM, ModernBERT or BigBird, or a decoder",
        )
    config.id2label = dict(enumerate(head.labels))
    config.label2id = {label: index for index, label in enumerate(head.labels)}
    config.problem_type = "single_label_classification"
    if getattr(config, "attention_type", None) == "block_sparse":
        config.attention_type = "original_full"
    return config


def adapted_head(adapter: Path) -> Head | None:
    """Return the head of the model that an adapter is loaded into, which has its weights; None if it has no head."""
    head = trained_head(adapter)
    return dataclasses.replace(head, seed=0) if head else None


def save_configuration(model: PreTrainedModel, folder: Path) -> None:
    """Write the configuration of a model beside its adapter, which says what the classes of its head are."""
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)


@contextlib.contextmanager
def without_load_report(head: Head | None) -> Iterator[None]:
    """Within it, transformers does not list the weights of other heads, and those of this one that are drawn."""
    before = logging.get_verbosity()
    if head:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def complete(model: PreTrainedModel, drawn: Iterable[str], head: Head, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make a loaded model ready: draw the parameters that its folder lacks, and tell it which token pads.

    Args:
        model: the model on its device.
        drawn: names of the parameters to draw.
        head: its head.
        tokenizer: its tokenizer.
    """
    without_unused_pooler(model)
    draw(model, drawn, head.seed or 0)
    set_padding(model, tokenizer)


def set_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a model that knows no token for padding, without which some find no last token, the tokenizer's."""
    config = model.config.get_text_config()
    if config.pad_token_id is None:
        known = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        config.pad_token_id = next(token for token in known if token is not None)


def without_unused_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """Return the same model; a pooler on which its classes do not depend, and which a base may lack, is taken out."""
    if model.config.model_type in _POOLER_UNUSED:
        setattr(model.base_model, _POOLER, None)
    return model


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules of a model's head that have weights."""
    base = model.base_model_prefix
    names = [*(name for name, _ in model.named_children() if name != base), f"{base}.{_POOLER}"]
    known = dict(model.named_modules())
    return [name for name in names if name in known and any(True for _ in known[name].parameters())]


def drawn_parameters(model: PreTrainedModel, stored: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Return the names of the parameters of a head that are drawn: those of its last layer, and what is not stored.

    Args:
        model: the model; its weights may be on the meta device.
        stored: shape of each parameter that is stored as it is.
    """
    names = tuple(f"{name}." for name in head_modules(model))
    head = {name: p for name, p in model.named_parameters() if name.startswith(names)}
    classes = [
        f"{module}.weight"
        for module, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == model.config.num_labels and f"{module}.weight" in head
    ]
    last = {f"{name.removesuffix('.weight')}.{own}" for name in classes[-1:] for own in ("weight", "bias")}
    return {name for name, p in head.items() if name in last or stored.get(name) != tuple(p.shape)}


@torch.no_grad()
def draw(model: PreTrainedModel, names: Iterable[str], seed: int) -> None:
    """Draw parameters as transformers does for their module, on the CPU, so that all devices get the same.

    Args:
        model: the model on its device.
        names: of the parameters.
        seed: seed of the weights.
    """
    chosen = set(names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in model.named_modules():
            own = [key for key, _ in module.named_parameters(recurse=False) if f"{name}.{key}" in chosen]
            if not own:
                continue
            made = copy.deepcopy(module).to("cpu", torch.float32)
            model._init_weights(made)
            for key in own:
                module.get_parameter(key).copy_(made.get_parameter(key))


def chosen_lora(lora: Lora, model: PreTrainedModel) -> Lora:
    """Return the settings of an adapter of a model with a head, in which the defaults, Llama's modules, are replaced.

    Args:
        lora: the settings. Its default of `target_modules` becomes the linear layers of the model's attention, and its
            default of `modules_to_save` no module; the head is trained in full in any case.
        model: the model; its weights may be on the meta device.

    Raises:
        ModelError: no layer is known by its name as part of the attention.
    """
    default, changes = Lora(), {}
    if lora.modules_to_save == default.modules_to_save:
        changes["modules_to_save"] = ()
    if lora.target_modules == default.target_modules:
        changes["target_modules"] = attention_modules(model)
        if not changes["target_modules"]:
            raise ModelError(
                "no linear layer of the model is known by its name as part of the attention",
                where="config key 'lora.target_modules'",
                fix="name the linear layers that get an update",
            )
    return lora.model_copy(update=changes)


def attention_modules(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the names, within a layer, of the linear layers of a model's attention."""
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    found = map(_OF_ATTENTION.fullmatch, layers)
    return tuple(dict.fromkeys(match[1] for match in found if match))


def peft_options(model: PreTrainedModel, lora: Lora) -> dict[str, Any]:
    """Return what peft's configuration of an adapter says of a model with a head."""
    full = [*lora.modules_to_save, *head_modules(model)]
    return {"task_type": "SEQ_CLS", "modules_to_save": [name for name in full if name not in _TRAINED_BY_PEFT] or None}


def class_logits(model: PreTrainedModel, batch: PackedBatch) -> torch.Tensor:
    """Return the logits [rows, classes] of a batch of ordinary rows."""
    # Some models find the last token, or the positions, by the token that pads.
    ids = batch.input_ids.masked_fill(batch.mask == 0, model.config.get_text_config().pad_token_id)
    return model(input_ids=ids, attention_mask=batch.mask).logits
