"""Tokenizers whose authors give them as Python files: the same ids without their code, here and in transformers."""

import json
import random
import re

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from dna_models import (
    GENERATOR_SPECIALS,
    words,
    write_character_tokenizer,
    write_hybrid_tokenizer,
    write_kmer_tokenizer,
)
from dnatune.errors import ModelError
from dnatune.model.base_models import load_tokenizer

WRITERS = {"kmers": write_kmer_tokenizer, "characters": write_character_tokenizer, "hybrid": write_hybrid_tokenizer}
KMERS = {token: index for index, token in enumerate([*GENERATOR_SPECIALS, *words(6)])}


@pytest.fixture(scope="module", params=WRITERS)
def tokenizer(request, tmp_path_factory):
    return load_tokenizer(WRITERS[request.param](tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def kmers(tmp_path_factory):
    return load_tokenizer(write_kmer_tokenizer(tmp_path_factory.mktemp("kmers")))


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    """The tokenizer, and its text half alone."""
    folder = write_hybrid_tokenizer(tmp_path_factory.mktemp("hybrid"))
    return load_tokenizer(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))


def drawn(count: int, letters: str = "ACGT" * 9 + "acgtNNnRX"):
    dice = random.Random(0)
    return ["".join(dice.choices(letters, k=dice.randrange(40))) for _ in range(count)]


def kmer_ids(text: str) -> list[int]:
    """By hand: words of six capital letters from the left, a shorter run of them as one, else letter by letter."""
    pieces = re.findall("[A-Z]{6}|[A-Z]+|.", text)
    return [KMERS["<s>"], *(KMERS.get(piece, KMERS["<oov>"]) for piece in pieces)]


def test_kmers_of_every_length_and_letter_by_brute_force(kmers):
    texts = [("ACGTTG" * 4)[:length] for length in range(21)] + drawn(400)
    assert [kmers(text).input_ids for text in texts] == [kmer_ids(text) for text in texts]


def test_kmers_have_the_ids_and_the_rest_that_the_authors_describe(kmers):
    """32 special tokens come first, then the words in the order of ATCG; a rest or a word with N is <oov>."""
    assert [kmers.convert_tokens_to_ids(word) for word in ("AAAAAA", "AAAAAT", "GGGGGG")] == [32, 33, 4127]
    ids = kmers("ACGTACGT").input_ids
    assert ids == [1, KMERS["ACGTAC"], 0] and kmers("AAAAAN").input_ids == [1, 0]
    assert kmers.decode(ids) == "<s>ACGTAC<oov>"
    assert (kmers.bos_token, kmers.eos_token, kmers.unk_token, kmers.pad_token) == ("<s>", "</s>", "<oov>", "<pad>")


def test_a_vocabulary_with_ids_is_read_too(tmp_path, kmers):
    other = load_tokenizer(write_kmer_tokenizer(tmp_path, ids=True))
    assert other.get_vocab() == kmers.get_vocab()


@pytest.mark.parametrize(("name", "small"), [("CaduceusTokenizer", [7, 8, 9, 10, 11]), ("HyenaDNATokenizer", [6] * 5)])
def test_characters_have_the_ids_of_their_authors(tmp_path, name, small):
    tokenizer = load_tokenizer(write_character_tokenizer(tmp_path, name))
    assert tokenizer("ACGTNX").input_ids == [7, 8, 9, 10, 11, 6]
    assert tokenizer("acgtn").input_ids == small
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id) == (1, 4, 6)
    assert tokenizer.decode([7, 8, 9]) == "ACG"


def hybrid_ids(text: str, half: Tokenizer) -> list[int]:
    """By hand: text by its own tokenizer; DNA in capitals, cut into six, the last filled up with A."""
    first = half.get_vocab_size()
    own = {word: first + 3 + index for index, word in enumerate(words(6))}
    ids = []
    for part in re.split("(<dna>[^<]*(?:</dna>)?)", text):
        if not part.startswith("<dna>"):
            ids += half.encode(part).ids
            continue
        dna = part.removeprefix("<dna>").removesuffix("</dna>").strip().upper()
        ids.append(first)
        ids += [own.get(dna[start : start + 6].ljust(6, "A"), first + 2) for start in range(0, len(dna), 6)]
        ids += [first + 1] if part.endswith("</dna>") else []
    return ids


def test_text_and_dna_by_brute_force(hybrid):
    tokenizer, half = hybrid
    before = ["", "Determine CCCCCC of ACGTAC, ", "<|im_start|>x\n", "é "]
    behind = ["</dna>", "</dna> tail ACGTAC", "</dna><dna>ACG</dna>", ""]
    sequences = [("ACGTTG" * 4)[:length] for length in range(21)] + [" ACGTAC ", *drawn(400)]
    texts = [f"{a}<dna>{s}{b}" for s, a, b in zip(sequences, before * 120, behind[::-1] * 120, strict=False)]
    texts = [text for text in texts if not text.endswith(" ")]
    assert len(texts) > 400
    assert [tokenizer(text).input_ids for text in texts] == [hybrid_ids(text, half) for text in texts]


def test_one_word_has_two_ids_in_text_and_in_dna(hybrid):
    tokenizer, half = hybrid
    ids = tokenizer("CCCCCC<dna>CCCCCC</dna>").input_ids
    assert ids[:-3] == half.encode("CCCCCC").ids and ids[-2] not in ids[:-3]
    assert tokenizer.decode(ids) == "CCCCCC<dna>CCCCCC</dna>"
    # With Qwen3's 151,669 tokens before it, this is the id that a comment in the authors' class gives.
    assert 151_669 + 3 + words(6).index("CCCCCC") == 154_402
    assert len(tokenizer) % 128 == 0 and tokenizer.convert_tokens_to_ids("<unused_0>") == half.get_vocab_size() + 4099


def test_saved_tokenizers_load_without_foreign_code_and_give_equal_ids(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py")) and "auto_map" not in (tmp_path / "tokenizer_config.json").read_text()
    texts = [*drawn(60), "x <dna>ACGTN</dna> y", "<dna>acgtac", "<s>ACGTAC</s><sp0>", "[SEP]AC"]
    for other in (AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False), load_tokenizer(tmp_path)):
        assert other(texts).input_ids == tokenizer(texts).input_ids
        assert len(other) == len(tokenizer)
        assert (other.eos_token, other.unk_token) == (tokenizer.eos_token, tokenizer.unk_token)
        ids = tokenizer(texts[-4]).input_ids
        assert other.decode(ids) == tokenizer.decode(ids)


def refusal(folder) -> str:
    with pytest.raises(ModelError) as caught:
        load_tokenizer(folder)
    assert str(folder) in caught.value.where and caught.value.fix
    return str(caught.value)


def test_what_is_not_that_vocabulary_is_refused(tmp_path):
    assert "here k = 5" in refusal(write_kmer_tokenizer(tmp_path / "a", k=5))
    assert "no <none>" in refusal(write_kmer_tokenizer(tmp_path / "b", bos_token="<none>"))  # noqa: S106
    (write_kmer_tokenizer(tmp_path / "c") / "vocab.txt").unlink()
    assert "vocabulary is missing" in refusal(tmp_path / "c")
    (write_kmer_tokenizer(tmp_path / "d") / "vocab.txt").write_text("<s> 0\nAC 7\n")
    assert "ids from 0 on" in refusal(tmp_path / "d")
    (write_kmer_tokenizer(tmp_path / "e") / "tokenizer_config.json").write_text("[")
    assert "not a JSON map" in refusal(tmp_path / "e")
    (write_hybrid_tokenizer(tmp_path / "f") / "tokenizer.json").unlink()
    assert "Qwen/Qwen3-4B-Base" in refusal(tmp_path / "f")
    settings = json.loads((write_hybrid_tokenizer(tmp_path / "g") / "tokenizer_config.json").read_text())
    (tmp_path / "g/tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": "GeneTokenizer"}))
    said = refusal(tmp_path / "g")
    assert "GeneTokenizer" in said and "DNAKmerTokenizer, HybridDNATokenizer" in said and "runs no code" in said
