"""Which models are refused by their small files, before their weights are fetched or copied."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnatune.errors import ModelError
from dnatune.settings.sources import OtherHead

#: What a refusal says that loads instead.
WHAT_LOADS = (
    "causal language models whose class is part of transformers load, such as llama (GENERator, Carbon, DNA-LLaMA3), "
    "gpt2, gpt_neox, gemma, mistral and mamba, and encoders with a classification head, such as bert, esm, modernbert "
    "and big_bird; docs/models.md"
)
#: Keys of `auto_map` that do not name the class of a model.
_NO_MODELS = ("AutoConfig", "AutoTokenizer", "AutoProcessor", "AutoFeatureExtractor", "AutoImageProcessor")


def refuse_unsupported(folder: Path, head: OtherHead = None) -> None:
    """Check what a model folder says of itself: config.json and the tokenizer.

    Args:
        folder: with all files of the model; the weights may be missing.
        head: what the model is to have.

    Raises:
        ModelError: code that comes with the model would have to run, transformers does not know the architecture, the
            weights are quantized, or the tokenizer cannot be loaded.
    """
    from dnatune.model.base_models import load_tokenizer

    refuse_configuration(folder / "config.json", head)
    load_tokenizer(folder)


def refuse_configuration(path: Path, head: OtherHead = None) -> None:
    """Check a config.json alone; see `refuse_unsupported`."""
    content = _read(path)
    quantized = content.get("quantization_config")
    if quantized:
        raise ModelError(
            f"the weights are quantized ({_method(quantized)}), and training and merging need the full weights",
            where=f"{path}, quantization_config",
            fix="give the model that it was made from, which the read-me usually names (without -GPTQ, -AWQ, -4bit)",
        )
    code = content.get("auto_map")
    classes = {key: name for key, name in code.items() if key not in _NO_MODELS} if isinstance(code, Mapping) else code
    if classes:
        named = ", ".join(map(str, classes.values())) if isinstance(classes, Mapping) else str(classes)
        raise ModelError(
            f"the model's class is in a Python file of the model ({named}), and dnatune runs no code that comes with a "
            "model",
            where=f"{path}, auto_map",
            fix=f"choose another model: {WHAT_LOADS}. If the class of transformers is the same network, remove auto_map"
            " in a copy of the folder and give that as the model's `directory`",
        )
    _refuse_architecture(content, path, head)


def _refuse_architecture(content: Mapping[str, Any], path: Path, head: OtherHead) -> None:
    from transformers.models.auto import modeling_auto as known

    kind, where = content.get("model_type"), f"{path}, model_type"
    tuned, written = known.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    # transformers has a class for causal language models of several encoders too, whose tokens see what they predict.
    reads_only = kind in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not content.get("is_decoder")
    if not head and reads_only and kind in tuned:
        raise ModelError(
            f"the model is an encoder ({kind}), which cannot write label words",
            where=where,
            fix="set 'models.<name>.head' to classification; docs/models.md",
        )
    if kind not in (tuned if head else written) or (not head and reads_only):
        names = content.get("architectures") or ["none named"]
        what = "model for sequence classification" if head else "causal language model"
        raise ModelError(
            f"transformers has no {what} of the type {kind!r} ({', '.join(map(str, names))})",
            where=where,
            fix=f"choose another model: {WHAT_LOADS}",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise ModelError("it is not a JSON map", where=str(path), fix="get a whole copy of the model")
    return content


def _method(quantized: Any) -> str:
    """Return how weights are quantized, in words."""
    if not isinstance(quantized, Mapping):
        return "quantization_config"
    bits = quantized.get("bits") or next((b for b in (4, 8) if quantized.get(f"load_in_{b}bit")), None)
    return f"{quantized.get('quant_method', 'no method named')}{f', {bits} bits' if bits else ''}"
