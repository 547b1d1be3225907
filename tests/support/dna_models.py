"""Small look-alikes of the DNA models that people use: their files are laid out as the authors lay them out."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

#: The special tokens of GENERator's DNAKmerTokenizer, in the order of their ids.
GENERATOR_SPECIALS = tuple(
    "<oov> <s> </s> <pad> <mask> <bog> <eog> <bok> <eok> <+> <-> <cds> <pseudo> <tRNA> <rRNA> <ncRNA> <miscRNA> <mam>"  # noqa: SIM905
    " <vrt> <inv> <pln> <fng> <prt> <arc> <bct> <mit> <plt> <plm> <vir> <sp0> <sp1> <sp2>".split()
)
#: How Qwen3's tokenizer divides text before it merges bytes.
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEXT = "Below is an instruction. Determine promoter, Non-promoter of following dna sequence CCCCCC CCCCCC. Response: "


def words(length: int) -> list[str]:
    """All words of DNA of a length, in the authors' order."""
    return ["".join(word) for word in itertools.product("ATCG", repeat=length)]


def write_kmer_tokenizer(folder: Path, length: int = 6, ids: bool = False, **changes: Any) -> Path:
    """Write vocab.txt and tokenizer_config.json as GENERator has them, with or without an id behind each token."""
    tokens = [*GENERATOR_SPECIALS, *words(length)]
    lines = [f"{token} {index}" if ids else token for index, token in enumerate(tokens)]
    _write(folder, "vocab.txt", "\n".join(lines) + "\n")
    return _write_settings(folder, "tokenizer.DNAKmerTokenizer", {"k": length, "add_bos_token": True, **changes})


def write_character_tokenizer(folder: Path, name: str = "CaduceusTokenizer") -> Path:
    """Write what Caduceus and HyenaDNA have of their tokenizers: settings alone."""
    return _write_settings(folder, f"tokenization.{name}", {"model_max_length": 1000})


def write_esm_tokenizer(folder: Path, known: Sequence[str]) -> Path:
    """Write a vocabulary as the Plant DNA models have it, for the class EsmTokenizer of transformers."""
    _write(folder, "vocab.txt", "\n".join(["<unk>", "<pad>", "<mask>", "<cls>", *known, "<eos>", "<bos>"]))
    roles = {f"{role}_token": f"<{role}>" for role in ("cls", "eos", "pad", "unk", "mask", "bos")}
    _write(folder, "config.json", json.dumps({"model_type": "gpt2"}))
    return _write(folder, "tokenizer_config.json", json.dumps({"tokenizer_class": "EsmTokenizer", **roles}))


def write_hybrid_tokenizer(folder: Path) -> Path:
    """Write a small text tokenizer like Qwen3's and the settings of Carbon's class."""
    text = Tokenizer(models.BPE())
    text.normalizer = normalizers.NFC()
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_QWEN), "isolated"), bytes_])
    text.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|endoftext|>"], initial_alphabet=sorted(alphabet), show_progress=False
    )
    text.train_from_iterator([_TEXT] * 50, trainer)
    text.add_special_tokens(["<|im_start|>"])
    folder.mkdir(parents=True, exist_ok=True)
    text.save(str(folder / "tokenizer.json"))
    return _write_settings(folder, "tokenizer.HybridDNATokenizer", {"k": 6, "eos_token": "<|endoftext|>"})


def write_llama(folder: Path) -> Path:
    """Write a small Llama with random weights beside the tokenizer that a folder has."""
    import torch
    from transformers import LlamaForCausalLM

    from dnatune.model.base_models import load_tokenizer
    from dnatune.model.sources import llama_configuration
    from dnatune.settings.sources import TinyModel

    shape = TinyModel(hidden_size=32, layers=1, intermediate_size=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(llama_configuration(shape, load_tokenizer(folder))).save_pretrained(folder)
    return folder


def _write_settings(folder: Path, name: str, settings: Mapping[str, Any]) -> Path:
    code = {"auto_map": {"AutoTokenizer": [name, None]}, "tokenizer_class": name.split(".")[1]}
    _write(folder, "tokenizer_config.json", json.dumps({**code, **settings}))
    return _write(folder, f"{name.split('.')[0]}.py", "raise SystemExit('foreign code ran')\n")


def _write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    return folder
