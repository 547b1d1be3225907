"""Settings of the prompts that a base model gets."""

from typing import Annotated, Literal

from pydantic import Field

from dnatune.settings.base import AllDifferent, AsTuple, Settings, setting

#: Tokens and tags are printable ASCII without white space; a vocabulary has no others that are reserved.
Token = Annotated[str, Field(pattern="^[!-~]+$", max_length=100)]
Tag = Annotated[str, Field(pattern="^[!-~]*$", max_length=100)]
Remainder = Literal["keep", "pad_left", "pad_right", "trim_left", "trim_right"]


class PromptSettings(Settings):
    """How a sequence is put to a base model. What is absent follows from the model's vocabulary; docs/models.md."""

    template: Literal["instruction", "sequence"] | None = setting(None, unit="one of two words")
    """instruction: the task's question in words, then the sequence. sequence: the sequence alone. If absent, a
    vocabulary that has only DNA gets sequence, any other one instruction."""
    wrapper: Annotated[tuple[Tag, ...], AsTuple] | None = setting(None, min_length=2, max_length=2, unit="two texts")
    """Texts right before and behind the sequence. If absent, a vocabulary of text and 6-mers gets `<dna>` and
    `</dna>`, any other one nothing."""
    remainder: Remainder | None = setting(None, unit="one of five words")
    """What becomes of a sequence whose length is not a multiple of the bases per token. keep: the tokenizer's business.
    pad_left, pad_right: A is added. trim_left, trim_right: bases are left out. If absent, a vocabulary of k-mers alone
    gets pad_left, as GENERator's authors advise, any other one keep."""
    answers: Annotated[tuple[Token, ...], AsTuple, AllDifferent] | None = setting(
        None, min_length=2, unit="list of tokens"
    )
    """Tokens that stand for the classes in place of the tasks' labels, in the order of the class indices; a task takes
    as many as it has classes. If absent, a vocabulary that has only DNA gives its reserved tokens, then other special
    ones without a use here, then words of DNA; any other one takes the labels."""
