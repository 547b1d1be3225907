"""Carbon's tokenizer: byte-level BPE for text, and words of k bases for DNA between `<dna>` and `</dna>`.

What the authors' `HybridDNATokenizer` does was read in tokenizer.py of HuggingFaceBio/Carbon-3B and in evaluation/
README.md of github.com/huggingface/carbon: the ids behind those of the text tokenizer, Qwen3-4B-Base's, are `<dna>`,
`</dna>`, `<oov>`, all words of k letters in the order of ATCG, and `<unused_…>` up to a multiple of 128. DNA is put in
upper case and cut from the left into words; a rest is filled up with A on the right; a word with another letter than
A, T, C and G is `<oov>`. Nothing is added before or behind a text.

Here this is one tokenizer of the `tokenizers` library. Its normalizer gives bases between the tags letters that no text
has, because a word such as CCCCCC is another token in DNA than in text; the first steps of its pre-tokenizer cut these
into words. Where it differs from the authors': a `</dna>` without a `<dna>` before it is text, `<` inside DNA ends it,
and white space at the end of DNA that no `</dna>` closes is a base that is not known.
"""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dnatune.errors import ModelError

START, END = "<dna>", "</dna>"
_BASES, _UNKNOWN = "ATCG", "<oov>"
#: In the private use area of Unicode: a mark before each base, and a letter for A, T, C, G and any other.
_MARK = "\ue000"
_LETTERS = dict(zip(_BASES, "\ue001\ue002\ue003\ue004", strict=True))
_OTHER = "\ue005"
_CLASS = f"[{''.join(_LETTERS.values())}{_OTHER}]"
_MULTIPLE = 128


def build(folder: Path, settings: Mapping[str, Any]) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a model folder with the text tokenizer's tokenizer.json.

    Args:
        folder: the model folder.
        settings: its tokenizer_config.json.

    Raises:
        ModelError: the text tokenizer is missing, is not byte-level BPE, or divides words of DNA.
    """
    path, length = folder / "tokenizer.json", settings.get("k", 6)
    if not path.is_file():
        raise ModelError(
            "the text half of the tokenizer is missing; the authors' class takes it from another model "
            "(Qwen/Qwen3-4B-Base)",
            where=str(folder),
            fix="put that model's tokenizer.json into a copy of the folder, and give it as the model's `directory`",
        )
    text = Tokenizer.from_file(str(path))
    content = json.loads(text.to_str())
    model = content["model"]
    if model["type"] != "BPE" or "ByteLevel" not in json.dumps(content["decoder"]) or START in text.get_vocab():
        raise ModelError(
            f"the text half of the tokenizer is not byte-level BPE without {START}",
            where=str(path),
            fix="report this with the name of the model",
        )
    first = text.get_vocab_size()
    words = ["".join(word) for word in itertools.product(_BASES, repeat=length)]
    names = [START, END, _name(_OTHER), *(_name("".join(_LETTERS[base] for base in word)) for word in words)]
    unused = -(first + len(names)) % _MULTIPLE
    names += [f"<unused_{index}>" for index in range(unused)]
    # A word of DNA is looked up as a whole; of text, the vocabulary has no word that its merges do not make.
    model["ignore_merges"] = True
    # The text tokenizer's added tokens would move behind a larger vocabulary.
    model["vocab"] |= {one["content"]: one["id"] for one in content["added_tokens"]}
    model["vocab"] |= {name: first + index for index, name in enumerate(names)}
    content["added_tokens"] += [_tag(START, first), _tag(END, first + 1)]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.normalizer = normalizers.Sequence([*filter(None, [tokenizer.normalizer]), *_marking(length)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*_cutting(length), tokenizer.pre_tokenizer])
    shown = [*((letter, base) for base, letter in _LETTERS.items()), (_OTHER, _UNKNOWN)]
    tokenizer.decoder = decoders.Sequence([tokenizer.decoder, *(decoders.Replace(*pair) for pair in shown)])
    _check(tokenizer, words, first, path)
    roles = {role: _text(settings.get(role)) or "<|endoftext|>" for role in ("eos_token", "pad_token")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles)


def _text(token: Any) -> str | None:
    return token.get("content") if isinstance(token, Mapping) else token


def _name(letters: str) -> str:
    """Return how byte-level BPE writes a text."""
    ((name, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(letters)
    return name


def _tag(content: str, index: int) -> dict[str, Any]:
    """Return an added token that is looked for behind the normalizer, which has to see it."""
    stripped = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    return {"id": index, "content": content, "normalized": True, "special": True, **stripped}


def _marking(length: int) -> list[normalizers.Normalizer]:
    """Return what gives the bases between the tags their letters, and as many A behind them as a rest may lack."""
    mark = Regex(rf"(?:(?<={START})|(?!\A)\G)(?=[^<])")
    letters = [(_MARK + one, letter) for base, letter in _LETTERS.items() for one in (base, base.lower())]
    return [
        normalizers.Replace(Regex(rf"(?<={START})\s+|\s+(?={END})"), ""),
        # An empty match moves the search on by one character, and \G holds only where the search stands: so a mark is
        # put before each character that follows a marked one or the tag, in time proportional to the length.
        normalizers.Replace(mark, _MARK),
        *(normalizers.Replace(marked, letter) for marked, letter in letters),
        normalizers.Replace(Regex(rf"{_MARK}(?m:.)"), _OTHER),
        normalizers.Replace(Regex(rf"(?<={_CLASS})(?!{_CLASS})"), _LETTERS["A"] * (length - 1)),
    ]


def _cutting(length: int) -> list[pre_tokenizers.PreTokenizer]:
    """Return what cuts marked bases into words, shortens a word that is not known to one letter, and drops spare A."""
    known = _CLASS.replace(_OTHER, "")
    return [
        pre_tokenizers.Split(Regex(f"{_CLASS}{{{length}}}"), "isolated"),
        pre_tokenizers.Split(Regex(f"{_CLASS}(?={_CLASS}*{_OTHER})|(?<={_OTHER}){known}+"), "removed"),
        pre_tokenizers.Split(Regex(rf"\A{known}{{1,{length - 1}}}\z"), "removed"),
    ]


def _check(tokenizer: Tokenizer, words: list[str], first: int, path: Path) -> None:
    due = [*range(first + 3, first + 3 + len(words)), first + 2]
    if tokenizer.encode(f"{START}{''.join(words)}N{END}", add_special_tokens=False).ids[1:-1] != due:
        raise ModelError(
            "the text half of the tokenizer divides words of DNA", where=str(path), fix="report this with its name"
        )
