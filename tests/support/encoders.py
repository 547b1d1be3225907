"""Small encoders of several architectures, with a tokenizer of single bases, as a folder of transformers'."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BigBirdConfig,
    EsmConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 16,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
CONFIGURATIONS: dict[str, PreTrainedConfig] = {
    "BERT": BertConfig(**SMALL),
    "ESM": EsmConfig(**SMALL, mask_token_id=4, position_embedding_type="rotary", token_dropout=True),
    "ModernBERT": ModernBertConfig(
        **SMALL, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, local_attention=16
    ),
    # Rows this short would turn its block-sparse attention off, rows of 128 tokens not.
    "BigBird": BigBirdConfig(**SMALL, sep_token_id=3, attention_type="block_sparse", block_size=4, num_random_blocks=1),
}


def single_bases() -> PreTrainedTokenizerFast:
    """Return a tokenizer of single bases, which puts [CLS] before a sequence and [SEP] behind it."""
    words = {token: index for index, token in enumerate([*SPECIAL, *"ACGTN"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def make_encoder(folder: Path, architecture: str = "BERT", **changes) -> Path:
    """Write an encoder that can fill in masked tokens, as it is pretrained, with weights from a seed.

    Of one whose name begins with `bare` there is no such head, and the names of its weights have no prefix.
    """
    bare, architecture = architecture.startswith("bare "), architecture.removeprefix("bare ")
    content = {**CONFIGURATIONS[architecture].to_dict(), **changes}
    config = type(CONFIGURATIONS[architecture]).from_dict(content)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForMaskedLM.from_config(config)
        (model.base_model if bare else model).save_pretrained(folder)
    single_bases().save_pretrained(folder)
    return folder
