"""Tokenizers of DNA that their authors give as Python files, built here from their vocabularies; no foreign code runs.

Each becomes a tokenizer of the `tokenizers` library, so what is saved with an adapter or a merged model is a
tokenizer.json that transformers loads without dnatune and without `trust_remote_code`.

What the authors' classes do was read in their sources:

- `DNAKmerTokenizer` of GENERator: tokenizer.py of GenerTeam/GENERator-v2-eukaryote-1.2b-base, and the notice in the
  README of github.com/GenerTeam/GENERator (arXiv 2502.07272). Capital letters are cut from the left into words of k;
  a word that is not in vocab.txt, such as one with N, and a shorter rest are `<oov>`; so is every other character.
- `CaduceusTokenizer` (kuleshov-group/caduceus, arXiv 2403.03234) and `HyenaDNATokenizer` (LongSafari/hyenadna,
  arXiv 2306.15794): one token per base, in a vocabulary that the class writes down: seven special tokens, then the
  bases. The first turns lower case into upper case, the second does not know it.
- `HybridDNATokenizer` of Carbon: see `hybrid_tokenizer`.

Where they differ from these: the ends that an author's class puts around a text (GENERator's `</s>`, the `[SEP]` of
the other two) are not added, because the answer of a prompt ends it.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from dnatune.errors import ModelError
from dnatune.model import hybrid_tokenizer

_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "sep_token", "cls_token")
#: What GENERator's class names whatever its files say.
_KMER_ROLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<oov>", "pad_token": "<pad>"}
_CHARACTER_ROLES = {
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "eos_token": "[SEP]",
    "bos_token": "[BOS]",
    "mask_token": "[MASK]",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
}
_CHARACTER_SPECIALS = ("[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]")
_MARKED = re.compile(r"<.*>|\[.*\]")


def build(folder: Path) -> PreTrainedTokenizerFast | None:
    """Return the tokenizer of a model folder if its class is one of these; None if it is transformers' business.

    Raises:
        ModelError: the vocabulary is missing or is not of that class; or the class is unknown and its code would have
            to run.
    """
    settings = _settings(folder)
    name = settings.get("tokenizer_class")
    if name in BUILDERS:
        return BUILDERS[name](folder, settings)
    code = settings.get("auto_map")
    code = code.get("AutoTokenizer") if isinstance(code, Mapping) else code
    if code and not (name and _known_to_transformers(name)):
        raise ModelError(
            f"the tokenizer is the class {name or code} in a Python file of the model, and dnatune runs no code that "
            "comes with a model",
            where=str(folder / "tokenizer_config.json"),
            fix=f"dnatune has classes of its own for {', '.join(BUILDERS)}; transformers loads every tokenizer.json. "
            "If the model has one of these vocabularies, name it as tokenizer_class in a copy of the folder",
        )
    return None


def is_known(folder: Path) -> bool:
    """Tell whether the tokenizer of a model folder is of one of these classes."""
    return _settings(folder).get("tokenizer_class") in BUILDERS


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ModelError("it is not a JSON map", where=str(path), fix="get a whole copy of the model")
    return content


def _known_to_transformers(name: str) -> bool:
    import transformers

    return hasattr(transformers, name) or hasattr(transformers, f"{name}Fast")


def _roles(settings: Mapping[str, Any], defaults: Mapping[str, str]) -> dict[str, str]:
    """Return the special tokens by role; a file gives them as texts or as maps with `content`."""
    given = {role: settings[role] for role in _ROLES if settings.get(role)}
    return {**defaults, **{role: one["content"] if isinstance(one, dict) else str(one) for role, one in given.items()}}


def _kmers(folder: Path, settings: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """Return GENERator's tokenizer from vocab.txt: a line per token, with its id behind it or counted from 0."""
    path = folder / "vocab.txt"
    vocabulary = _read_vocabulary(path)
    words = [token for token in vocabulary if not _MARKED.fullmatch(token)]
    lengths = {len(word) for word in words}
    given = settings.get("k", settings.get("kmer"))
    if len(lengths) != 1 or (given is not None and lengths != {given}):
        raise ModelError(
            f"the words of the vocabulary have {', '.join(map(str, sorted(lengths))) or 'no'} letters, and a k-mer "
            f"tokenizer has one length{f', here k = {given}' if given is not None else ''}",
            where=str(path),
            fix="get a whole copy of the model",
        )
    return _of_words(vocabulary, lengths.pop(), _roles(settings, _KMER_ROLES), path, begins=True)


def _characters(folder: Path, settings: Mapping[str, Any], capitals: bool) -> PreTrainedTokenizerFast:
    characters = settings.get("characters") or ("A", "C", "G", "T", "N")
    vocabulary = {token: index for index, token in enumerate([*_CHARACTER_SPECIALS, *characters])}
    roles = _roles(settings, _CHARACTER_ROLES)
    return _of_words(vocabulary, 1, roles, folder / "tokenizer_config.json", begins=False, capitals=capitals)


#: How to build the tokenizer of each class that is known by its name in tokenizer_config.json.
BUILDERS: dict[str, Callable[[Path, Mapping[str, Any]], PreTrainedTokenizerFast]] = {
    "DNAKmerTokenizer": _kmers,
    "HybridDNATokenizer": hybrid_tokenizer.build,
    "CaduceusTokenizer": lambda folder, settings: _characters(folder, settings, capitals=True),
    "HyenaDNATokenizer": lambda folder, settings: _characters(folder, settings, capitals=False),
}


def _read_vocabulary(path: Path) -> dict[str, int]:
    if not path.is_file():
        raise ModelError(
            "the vocabulary is missing", where=str(path), fix="get a whole copy of the model, vocab.txt included"
        )
    rows = [line.split() for line in path.read_text("utf-8").splitlines() if line.strip()]
    vocabulary = {row[0]: int(row[1]) if len(row) == 2 and row[1].isdigit() else i for i, row in enumerate(rows)}
    if sorted(vocabulary.values()) != list(range(len(rows))):
        raise ModelError(
            "a line is a token, or a token and its id, and these are not the ids from 0 on, each once",
            where=str(path),
            fix="get a whole copy of the model",
        )
    return vocabulary


def _of_words(
    vocabulary: Mapping[str, int],
    length: int,
    roles: Mapping[str, str],
    path: Path,
    begins: bool,
    capitals: bool = False,
) -> PreTrainedTokenizerFast:
    """Return a tokenizer that cuts capital letters from the left into words of one length.

    Args:
        vocabulary: ids of all tokens; special ones stand in angle or square brackets.
        length: letters per word.
        roles: the special tokens by role.
        path: file that the vocabulary comes from, for messages.
        begins: whether a text begins with the start of sequence.
        capitals: whether lower case counts as upper case.
    """
    lost = sorted({token for token in roles.values() if token not in vocabulary})
    if lost:
        raise ModelError(
            f"the vocabulary has no {', '.join(lost)}", where=str(path), fix="get a whole copy of the model"
        )
    tokenizer = Tokenizer(models.WordLevel(dict(vocabulary), unk_token=roles["unk_token"]))
    if capitals:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(one, one.upper()) for one in "acgtn"])
    cut = Regex(f"[A-Z]{{{length}}}|[A-Z]+|(?m:.)" if length > 1 else "(?m:.)")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(cut, "isolated")
    tokenizer.decoder = decoders.Fuse()
    marked = [token for token in sorted(vocabulary, key=vocabulary.get) if _MARKED.fullmatch(token)]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in marked])
    if begins:
        start = roles["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, vocabulary[start])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles)
