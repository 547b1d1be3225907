"""Merge an adapter into its base model, tensor by tensor: neither model is ever in memory as a whole."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import ModelError
from dnatune.files import read_json, write_json
from dnatune.model import base_models, classification, label_likelihood
from dnatune.model.architecture import Architecture, network_of, weights_on_demand
from dnatune.model.merged_tensors import FORMATS, Tensor, write
from dnatune.model.shared_prefix.packing import pack_training
from dnatune.model.storage import Storage
from dnatune.model.weight_files import Stored, stored_tensors

ADAPTER = "adapter_model.safetensors"
_GENERATION = "generation_config.json"
#: Vocabularies that transformers does not write again; the tokenizer is the base's.
_VOCABULARIES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
#: What peft puts before the names of a model's modules, and into those of modules that were trained in full.
_PEFT, _SAVED = "base_model.model.", ".modules_to_save.default."
#: Names of low-rank matrices in a file of adapters; in the network the adapter's name follows.
_LORA = re.compile(r"\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B)(\.weight)?$")
#: Most nats by which the merged weights, before they are rounded, may differ from base + adapter in a token's
#: log-probability: both are computed in fp32, in another order. A lost update or an untied matrix makes it some nats.
_ROUNDING = 1e-3


def merge(base: Path, adapter: Path, folder: Path, dtype: str | None, prompts: Sequence[str]) -> Storage:
    """Write base + adapter as a plain transformers model folder with the adapter's tokenizer, and check it.

    Args:
        base: folder of the base model.
        adapter: folder of the adapter.
        folder: existing folder to write into.
        dtype: number format to store in: fp32, bf16 or fp16; None keeps that of each of the base's tensors.
        prompts: texts on which the merged weights are compared with base + adapter.

    Raises:
        ModelError: the adapter does not belong to the base, an update cannot be added to how a weight is stored, a
            merged weight is too large for the format, or the merged weights do not compute what base + adapter does.
    """
    tokenizer = base_models.load_tokenizer(adapter)
    head = classification.adapted_head(adapter)
    architecture, saved = Architecture(base, head), stored_tensors([adapter / ADAPTER])
    adapted = _adapted(base, adapter, saved, tokenizer, head)
    causal = base_models.causal_model(adapted)
    tensors = _tensors(architecture, adapted, saved)
    if dtype is not None:
        causal.config.dtype = FORMATS[dtype]
    causal.config.architectures = [type(causal).__name__]
    causal.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if not head and not (base / _GENERATION).is_file():
        GenerationConfig.from_model_config(causal.config).save_pretrained(folder)
    for name in (*(() if head else (_GENERATION,)), *_VOCABULARIES):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    _write_for_older_readers(folder)
    kept = write(tensors, folder, dtype)
    difference, tokens = _difference(architecture, adapted, tensors, folder, tokenizer, prompts)
    return Storage(**kept, checked_tokens=tokens, largest_difference=difference)


def _write_for_older_readers(folder: Path) -> None:
    """Name the tokenizer's class and the rotary frequencies as transformers 4 and the programs that follow it do.

    They know neither the class `TokenizersBackend` nor `rope_parameters`, and would go on with other frequencies. They
    want a map of `extra_special_tokens`; and of a class of its own with `add_prefix_space` they make the tokenizer anew
    from a sentencepiece vocabulary, with other merges.
    """
    config, tokenizer = read_json(folder / "config.json"), read_json(folder / "tokenizer_config.json")
    rope = config.get("rope_parameters") or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope["rope_theta"]
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        if scaling.get("rope_type", "default") != "default":
            config["rope_scaling"] = scaling
        write_json(folder / "config.json", config)
    if tokenizer.get("tokenizer_class") == "TokenizersBackend" or "add_prefix_space" in tokenizer:
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(tokenizer.get("extra_special_tokens"), list):
        tokenizer["additional_special_tokens"] = tokenizer.pop("extra_special_tokens")
    write_json(folder / "tokenizer_config.json", tokenizer)


def _adapted(
    base: Path,
    adapter: Path,
    saved: Mapping[str, Stored],
    tokenizer: PreTrainedTokenizerBase,
    head: classification.Head | None,
) -> PeftModel:
    """Return the network of base + adapter with the values of the low-rank matrices and no others.

    Args:
        base: folder of the base model.
        adapter: folder of the adapter.
        saved: the adapter's tensors.
        tokenizer: its tokenizer.
        head: classification head of its model, if that has one.
    """
    config = LoraConfig.from_pretrained(adapter)
    network = network_of(base, head)
    if head:
        classification.set_padding(network, tokenizer)
    base_models.add_rows(network, len(tokenizer))
    base_models.untie_trained(network, base_models.trained_modules(config))
    adapted = get_peft_model(network, config, low_cpu_mem_usage=True).eval()
    matrices = {_LORA.sub(r".\1.default\2", name): one.read() for name, one in saved.items() if _LORA.search(name)}
    adapted.load_state_dict(matrices, strict=False, assign=True)
    lost = [name for name, value in adapted.named_parameters() if "lora_" in name and value.is_meta]
    if lost or not set(matrices) <= set(adapted.state_dict()):
        raise ModelError(
            f"the adapter does not fit the base model: {', '.join(lost[:3]) or 'it has other modules'}",
            where=str(adapter),
            fix="give the base model on which the adapter was trained",
        )
    return adapted


def _tensors(architecture: Architecture, adapted: PeftModel, saved: Mapping[str, Stored]) -> dict[str, Tensor]:
    """Return every tensor of the merged model by its name in the files.

    A matrix that the base ties to another one, and that has changed, is stored under its own name now. A model with a
    classification head has none of the base's other heads.
    """
    layers, replaced = {}, {}
    for name, module in adapted.named_modules():
        parameter = name.removeprefix(_PEFT)
        if isinstance(module, LoraLayer):
            layers[f"{parameter}.weight"] = module
        elif isinstance(module, ModulesToSaveWrapper):
            for own, _ in module.original_module.named_parameters():
                replaced[f"{parameter}.{own}"] = saved[f"{name}.{own}"]
    causal, bare = base_models.causal_model(adapted), architecture.network
    rows = base_models.rows_with(bare, causal.config.get_text_config().vocab_size)
    unused = {name for parameter in architecture.unused for name in architecture.sources.get(parameter, [])}
    names = {name: name for name in architecture.stored if name not in unused}
    parameters = {name: parameter for parameter, (name, *others) in architecture.sources.items() if not others}
    tied = bare.all_tied_weights_keys if bare.config.tie_word_embeddings else {}
    untied = set() if causal.config.tie_word_embeddings else {*tied, *tied.values()}
    for parameter in sorted({*layers, *replaced, *untied} - architecture.drawn):
        if architecture.stored_name(parameter) is None:
            names[parameter] = architecture.stored_name(architecture.partner(parameter))
            parameters[parameter] = parameter
    tensors = {
        name: Tensor(parameter, architecture.stored[base], *(part.get(parameter) for part in (rows, replaced, layers)))
        for name, base in names.items()
        for parameter in [parameters.get(name)]
    }
    # What was drawn for the head has no value in the base that training could have changed.
    file = next(iter(architecture.stored.values())).file
    made = {name: Tensor(name, replaced[name], file=file.name) for name in sorted(architecture.drawn)}
    return tensors | made


@torch.no_grad()
def _difference(
    architecture: Architecture,
    adapted: PeftModel,
    tensors: Mapping[str, Tensor],
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
) -> tuple[float, int]:
    """Return the largest difference of a token's log-probability, and how many tokens were compared.

    On one side stands peft, on the other what plain transformers makes of the merged folder, with the tensors as they
    were before rounding. Both compute in fp32.

    Raises:
        ModelError: the difference is more than rounding.
    """
    merged = Architecture(folder, classification.trained_head(folder))
    merged.check()
    rows = base_models.rows_with(architecture.network, len(tokenizer))

    def of_adapted(name: str) -> torch.Tensor:
        parameter = name.removeprefix(_PEFT).replace(".base_layer.", ".").replace(".original_module.", ".")
        if ".modules_to_save." in parameter:
            one = next(one for one in tensors.values() if one.parameter == parameter.replace(_SAVED, "."))
            return (one.replacement or one.base).read().float()
        value = architecture.parameter(parameter).float()
        return base_models.with_new_rows(value, rows.get(parameter))

    def of_merged(name: str) -> torch.Tensor:
        return merged.parameter(name, lambda stored: tensors[stored].exact()).float()

    ids = [tokenizer(text).input_ids for text in prompts]
    found = []
    for model, value in ((base_models.causal_model(adapted), of_adapted), (merged.network, of_merged)):
        with weights_on_demand(model, value):
            found.append(_log_probabilities(model, ids))
    difference = float((found[0] - found[1]).abs().max())
    if not difference <= _ROUNDING:
        raise ModelError(
            f"the merged model does not compute what base + adapter does: before its weights are rounded, the "
            f"log-probability of a token differs by {difference:.3g}",
            where=str(folder),
            fix="report this with the name of the base model and 'lora' of the configuration",
        )
    return difference, len(found[0])


def _log_probabilities(model: PreTrainedModel, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the log-probability of each token of texts after the first; with a classification head, of each class."""
    if classification.classifies(model):
        batch = pack_training(EncodedExamples([], ids, [0] * len(ids), [[0]]), range(len(ids)), shared=False)
        return classification.class_logits(model, batch).log_softmax(dim=1).flatten()
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(one), dtype=torch.long) for one in ids], batch_first=True)
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(one) for one in ids], batch_first=True)
    logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1]
    followed = mask[:, 1:].bool()
    return label_likelihood.log_probabilities(logits[followed], tokens[:, 1:][followed])
