"""Which models are refused by their small files, before their weights are fetched or copied."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnatune.errors import ModelError

#: What a refusal says that loads instead.
WHAT_LOADS = (
    "causal language models whose class is part of transformers load, such as llama (GENERator, Carbon, DNA-LLaMA3), "
    "gpt2, gpt_neox, gemma, mistral and mamba; docs/models.md"
)
#: Keys of `auto_map` that do not name the class of a model.
_NO_MODELS = ("AutoConfig", "AutoTokenizer", "AutoProcessor", "AutoFeatureExtractor", "AutoImageProcessor")


def refuse_unsupported(folder: Path) -> None:
    """Check what a model folder says of itself: config.json and the tokenizer.

    Args:
        folder: with all files of the model; the weights may be missing.

    Raises:
        ModelError: code that comes with the model would have to run, transformers does not know the architecture, the
            weights are quantized, or the tokenizer cannot be loaded.
    """
    from dnatune.model.base_models import load_tokenizer

    refuse_configuration(folder / "config.json")
    load_tokenizer(folder)


def refuse_configuration(path: Path) -> None:
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
    _refuse_architecture(content, path)


def _refuse_architecture(content: Mapping[str, Any], path: Path) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = content.get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        names = content.get("architectures") or ["none named"]
        raise ModelError(
            f"transformers has no causal language model of the type {kind!r} ({', '.join(map(str, names))})",
            where=f"{path}, model_type",
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
