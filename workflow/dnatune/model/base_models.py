"""Base models and adapters: load one, add LoRA, merge, save."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import ModelError, memory_ended
from dnatune.model import classification, dna_tokenizers
from dnatune.model.architecture import KINDS, Architecture
from dnatune.model.classification import Head
from dnatune.settings.training import Lora

# Progress bars for loading a file are useless in a log file.
logging.disable_progress_bar()
_LOG = logging.get_logger(__name__)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer in a folder; one that its authors give as a Python file is built from its vocabulary.

    Raises:
        ModelError: neither transformers nor dnatune can load a tokenizer from the files.
    """
    built = dna_tokenizers.build(folder)
    if built is not None:
        return built
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"the tokenizer cannot be loaded: {_first_line(error)}",
            where=str(folder),
            fix="check the tokenizer files of the model",
        ) from None


def load_model(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    dtype: torch.dtype,
    device: str = "cpu",
    head: Head | None = None,
) -> PreTrainedModel:
    """Load a model onto a device, and resize its embeddings if the tokenizer has more tokens.

    Its weights go from the files to the device, several at once. transformers uses SDPA if it supports SDPA for the
    model, otherwise the model's own attention.

    Args:
        folder: the model folder.
        tokenizer: the model's tokenizer.
        dtype: number format of the weights.
        device: torch device name.
        head: classification head of the model; None for a causal language model.

    Raises:
        ModelError: transformers cannot load the model, or its weights are not whole.
    """
    architecture = Architecture(folder, head)
    architecture.check()
    auto = AutoModelForSequenceClassification if head else AutoModelForCausalLM
    # A head of other classes than the base model's has another shape.
    of_head = {"config": classification.configuration(folder, head), "ignore_mismatched_sizes": True} if head else {}
    try:
        with classification.without_load_report(head):
            model = auto.from_pretrained(
                folder,
                **of_head,
                dtype=dtype,
                device_map={"": device},
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if memory_ended(error):
            raise
        raise ModelError(
            f"the model cannot be loaded: {_first_line(error)}",
            where=str(folder),
            fix=f"use a {KINDS[head is not None]} that transformers can load without remote code",
        ) from None
    if head:
        classification.complete(model, architecture.drawn, head, tokenizer)
    add_rows(model, len(tokenizer))
    return model


def add_rows(model: PreTrainedModel, tokens: int) -> None:
    """Give a model the embeddings that a tokenizer has tokens for and it has no rows; they are the mean of the others.

    transformers would draw them at random, other ones at each loading.
    """
    rows = rows_with(model, tokens)
    if not rows:
        return
    kept = {name: model.get_parameter(name).data for name in rows}
    model.resize_token_embeddings(tokens, mean_resizing=False)
    for name, weight in kept.items():
        model.get_parameter(name).data = with_new_rows(weight, tokens)


def refuse_uncovered(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    splits: Sequence[EncodedExamples],
    lora: Lora,
    head: Head | None = None,
) -> None:
    """Check that a base model has embeddings for the data's positions, and that training reaches those of new tokens.

    Args:
        folder: of the base model.
        tokenizer: its tokenizer.
        splits: the encoded splits.
        lora: what is trained.
        head: classification head of the model, if it has one.

    Raises:
        ModelError: an example has more positions; or a split has a token without a row, and the embeddings, or of a
            label the output layer, are not trained.
    """
    network = Architecture(folder, head).network
    refuse_beyond_positions(network, splits)
    rows = network.get_input_embeddings().num_embeddings
    if len(tokenizer) <= rows:
        return
    names = {module: name for name, module in network.named_modules()}
    tables = [names[module] for module in (network.get_input_embeddings(), network.get_output_embeddings()) if module]
    trained = {*lora.target_modules, *lora.modules_to_save}
    for split in splits:
        answers = {token for label in split.labels for token in label}
        tokens = {*split.prefix, *answers}.union(*split.examples)
        # A classification head writes no tokens.
        for module, met in zip(tables, (tokens, answers), strict=False):
            new = sorted(token for token in met if token >= rows)
            own = module.rsplit(".", 1)[-1]
            if new and trained.isdisjoint(_ends(module)):
                raise ModelError(
                    f"the tokenizer has {len(tokenizer)} tokens and the model rows for {rows}; {len(new)} of the new "
                    f"ones are in the data ({', '.join(map(repr, tokenizer.convert_ids_to_tokens(new[:5])))}), and "
                    f"{own}, where they get a row, is not trained",
                    where=str(folder),
                    fix=f"add {own} to 'lora.modules_to_save', or use the tokenizer that the model was trained with",
                )


def refuse_beyond_positions(
    model: PreTrainedModel | PeftModel, splits: Iterable[EncodedExamples], answer: int | None = None
) -> None:
    """Check that a model that has an embedding for each position has enough of them.

    A model that computes positions takes any number; one beyond what it was made for is warned of.

    Args:
        model: the model.
        splits: the encoded splits.
        answer: tokens that follow a prompt; default: those of the longest label.

    Raises:
        ModelError: an example has more tokens.
    """
    most = most_positions(model)
    longest = max(split.longest_prompt + (answer or split.longest_label) for split in splits)
    if most is not None and longest > most:
        raise ModelError(
            f"the model has an embedding for each of {most} positions, and the longest example with its answer has "
            f"{longest} tokens",
            where=causal_model(model).name_or_path,
            fix="choose a model with more positions, or leave the longest sequences out; nothing is ever truncated",
        )
    made_for = getattr(causal_model(model).config.get_text_config(), "max_position_embeddings", None)
    if most is None and made_for is not None and longest > made_for:
        _LOG.warning(
            "the longest example with its answer has %d tokens, and the model was made for %d positions: what it knows"
            " of shorter sequences may not hold there",
            longest,
            made_for,
        )


def most_positions(model: PreTrainedModel | PeftModel) -> int | None:
    """Return for how many positions a model has an embedding each; None if it computes them."""
    causal = causal_model(model)
    most = getattr(causal.config.get_text_config(), "max_position_embeddings", None)
    known = (causal.get_input_embeddings(), causal.get_output_embeddings())
    tables = [module for module in causal.modules() if isinstance(module, nn.Embedding) and module not in known]
    # GPT-J keeps computed positions as a buffer; OPT begins at the third row.
    sizes = {len(table) for table in [*(table.weight for table in tables), *causal.buffers()] if table.dim() == 2}
    if most is None or not sizes & {most, most + 2}:
        return None
    # RoBERTa and ESM begin behind the token that pads.
    return most - max((table.padding_idx + 1 for table in tables if table.padding_idx is not None), default=0)


def rows_with(model: PreTrainedModel, tokens: int) -> dict[str, int]:
    """Return the number of rows of each parameter of the embeddings and the output layer, if tokens add some."""
    modules = list(filter(None, (model.get_input_embeddings(), model.get_output_embeddings())))
    if tokens <= modules[0].num_embeddings:
        return {}
    names = {module: name for name, module in model.named_modules()}
    return {f"{names[module]}.{own}": tokens for module in modules for own, _ in module.named_parameters()}


def with_new_rows(weight: torch.Tensor, rows: int | None) -> torch.Tensor:
    """Return a matrix with rows added up to a number, each the mean of those that are there; None adds none."""
    if rows is None:
        return weight
    # A GPU would add them up in another order.
    there = weight.cpu() if weight.is_cuda else weight
    mean = there.mean(dim=0, keepdim=True, dtype=torch.float64).to(weight)
    return torch.cat([weight, mean.expand(rows - len(weight), *weight.shape[1:])])


def load_whole(
    folder: Path, dtype: torch.dtype, device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model and the tokenizer of one folder, with its classification head if its configuration names one."""
    tokenizer = load_tokenizer(folder)
    return load_model(folder, tokenizer, dtype, device, classification.trained_head(folder)), tokenizer


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def add_lora(model: PreTrainedModel, lora: Lora, seed: int) -> PeftModel:
    """Wrap a model with a new adapter; only the adapter and `modules_to_save` stay trainable.

    Args:
        model: the base model.
        lora: the adapter's settings.
        seed: seed of the adapter's initial weights.

    Raises:
        ModelError: the model has no module of a configured name.
    """
    names = {end for name, _ in model.named_modules() for end in _ends(name)}
    for key in ("target_modules", "modules_to_save"):
        missing = [name for name in getattr(lora, key) if name not in names]
        if missing:
            raise ModelError(
                f"the model has no module named {', '.join(missing)}",
                where=f"config key 'lora.{key}'",
                fix=f"its modules are: {', '.join(sorted(name for name in names if name and name.isidentifier()))}",
            )
    untie_trained(model, [*lora.target_modules, *lora.modules_to_save])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        configuration = lora_configuration(lora, model if classification.classifies(model) else None)
        return _in_one_format(get_peft_model(model, configuration), model.dtype)


def _ends(name: str) -> list[str]:
    """Return by what a module may be named: the last part of its name, the last two parts, …"""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def lora_configuration(lora: Lora, model: PreTrainedModel | None = None) -> LoraConfig:
    """Return peft's configuration of an adapter, for a model with a classification head if it is given."""
    saved = {"task_type": "CAUSAL_LM", "modules_to_save": list(lora.modules_to_save) or None}
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        **(classification.peft_options(model, lora) if model else saved),
    )


def _in_one_format(model: PeftModel, dtype: torch.dtype) -> PeftModel:
    """Give the adapter, which peft makes in fp32, the number format in which DeepSpeed trains all parameters."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def trained_modules(config: LoraConfig) -> list[str]:
    """Return the names of the modules that an adapter changes."""
    return [*config.target_modules, *(config.modules_to_save or [])]


def untie_trained(model: PreTrainedModel, trained: Iterable[str]) -> None:
    """Give a model with tied embeddings a separate output matrix, a copy, if training changes either of the two.

    Args:
        model: the base model.
        trained: names of the modules that get an update or are trained in full.
    """
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None:
        return
    names = {end for name, module in model.named_modules() if module in (head, embeddings) for end in _ends(name)}
    if not model.config.tie_word_embeddings or names.isdisjoint(trained):
        return
    head.weight = nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings = False


def save_adapter(
    model: PeftModel, weights: dict[str, torch.Tensor], tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Write an adapter and its tokenizer.

    Args:
        model: the trained model.
        weights: its trainable weights by name, not sharded.
        tokenizer: saved beside the adapter, because merging reads it there.
        folder: existing folder to write into.
    """
    # Later stages get the base model's folder as an argument, and a result must not hold a path of this machine.
    configuration = model.peft_config["default"]
    configuration.base_model_name_or_path = ""
    if isinstance(configuration.target_modules, set):
        # Each process would write a set in an order of its own.
        configuration.target_modules = sorted(configuration.target_modules)
    model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    if classification.classifies(causal_model(model)):
        classification.save_configuration(causal_model(model), folder)


def load_adapter(
    base: Path, adapter: Path, dtype: torch.dtype, device: str = "cpu"
) -> tuple[PeftModel, PreTrainedTokenizerBase]:
    """Load a base model with a trained adapter as it was trained in `dtype`, and the tokenizer beside the adapter."""
    tokenizer = load_tokenizer(adapter)
    model = load_model(base, tokenizer, dtype, device, classification.adapted_head(adapter))
    config = LoraConfig.from_pretrained(adapter)
    untie_trained(model, trained_modules(config))
    # peft would read it onto the first GPU that it sees.
    adapted = PeftModel.from_pretrained(model, adapter, torch_device=device)
    return _in_one_format(adapted, dtype), tokenizer


def causal_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """Return the model inside a PEFT wrapper, or the model itself if it has no wrapper."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Return the numbers of trainable and of all parameters; parameters sharded by ZeRO 3 count in full."""
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)
