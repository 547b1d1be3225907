"""The form of the prompts of a model: what is configured, and for the rest what its vocabulary asks for."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dnatune.errors import ConfigurationError, DataError
from dnatune.settings.prompt import PromptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: The template the original was trained with. The answer follows the final space.
TEMPLATE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n{input}\n\n### Response: "
)
#: What Carbon puts around DNA (README of github.com/huggingface/carbon), and its token for unknown bases.
TAGS = ("<dna>", "</dna>")
#: Letters of nucleic acids (IUPAC), which are all that the words of a vocabulary of DNA alone have.
_DNA = re.compile("[ACGTUNRYSWKMBDHV]+|[acgtunryswkmbdhv]+")
_MARKED = re.compile(r"<.*>|\[.*\]")
#: Tokens that a vocabulary keeps for later use: GENERator's <sp0>, BERT's [unused0], Carbon's <unused_0>.
_RESERVED = re.compile(r"\W(sp|unused|reserved|extra)\w*\W", re.IGNORECASE)
#: Any sequence as long as a multiple of the bases per token.
_PROBE = 240


@dataclasses.dataclass(frozen=True)
class PromptForm:
    """How sequences and answers are written for a model.

    Attributes:
        template: `instruction` or `sequence`.
        wrapper: texts right before and behind the sequence.
        remainder: what becomes of a length that is not a multiple of `word_length`; see `PromptSettings`.
        word_length: bases per token, if that is one number for all tokens.
        answers: tokens in place of the labels; None for the labels themselves.
    """

    template: str = "instruction"
    wrapper: tuple[str, ...] = ("", "")
    remainder: str = "keep"
    word_length: int | None = None
    answers: tuple[str, ...] | None = None

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", settings: PromptSettings | None = None) -> "PromptForm":
        """Return the form for a tokenizer: what is configured, then what its vocabulary asks for.

        Raises:
            ConfigurationError: a remainder is configured, and the vocabulary has no one number of bases per token.
        """
        chosen = settings or PromptSettings()
        form = _preset(tokenizer)
        given = {name: value for name, value in chosen if value is not None}
        if chosen.template == "instruction" and chosen.answers is None:
            given["answers"] = None
        form = dataclasses.replace(form, **given)
        if form.remainder != "keep" and form.word_length is None:
            raise ConfigurationError(
                f"the remainder is '{form.remainder}', and the tokens of the model have no one number of bases",
                where="config key 'models.<name>.prompt.remainder'",
                fix="leave it out",
            )
        return form

    @property
    def fewest_bases(self) -> int:
        """Return the length below which nothing of a sequence is left."""
        return self.word_length if self.remainder.startswith("trim") else 1

    def text(self, instruction: str, sequence: str) -> str:
        """Return the prompt text of a sequence.

        Raises:
            DataError: nothing is left of the sequence.
        """
        wrapped = f"{self.wrapper[0]}{self._whole_words(sequence)}{self.wrapper[1]}"
        return wrapped if self.template == "sequence" else TEMPLATE.format(instruction=instruction, input=wrapped)

    def words(self, labels: Sequence[str]) -> list[str]:
        """Return the text of the answer of each class.

        Raises:
            ConfigurationError: there are fewer answers than classes.
        """
        if self.answers is None:
            return list(labels)
        if len(self.answers) < len(labels):
            raise ConfigurationError(
                f"there are {len(self.answers)} tokens for the answers and {len(labels)} classes",
                where="config key 'models.<name>.prompt.answers'",
                fix="name a token of the vocabulary for each class",
            )
        return list(self.answers[: len(labels)])

    def _whole_words(self, sequence: str) -> str:
        rest = len(sequence) % self.word_length if self.remainder != "keep" else 0
        if not rest:
            return sequence
        if self.remainder.startswith("pad"):
            bases = "A" * (self.word_length - rest)
            return bases + sequence if self.remainder == "pad_left" else sequence + bases
        if rest == len(sequence):
            raise DataError(
                f"nothing is left of the sequence {sequence} if it is trimmed to a multiple of {self.word_length}",
                where="config key 'models.<name>.prompt.remainder'",
                fix="choose pad_left or pad_right, or leave the sequence out",
            )
        return sequence[rest:] if self.remainder == "trim_left" else sequence[:-rest]


def _preset(tokenizer: "PreTrainedTokenizerBase") -> PromptForm:
    """Return the form that a vocabulary asks for."""
    vocabulary = tokenizer.get_vocab()
    if all(tag in vocabulary for tag in TAGS):
        tokens = len(tokenizer(f"{TAGS[0]}{'A' * _PROBE}{TAGS[1]}", add_special_tokens=False).input_ids) - len(TAGS)
        return PromptForm(wrapper=TAGS, word_length=_PROBE // tokens) if tokens < _PROBE else PromptForm()
    special = set(tokenizer.all_special_tokens)
    words = [token for token in vocabulary if token not in special and not _MARKED.fullmatch(token)]
    if not words or not all(map(_DNA.fullmatch, words)):
        return PromptForm()
    words.sort(key=vocabulary.get)
    free = {*vocabulary} - {*words} - _used(tokenizer)
    free = sorted(free, key=lambda token: (_RESERVED.fullmatch(token) is None, vocabulary[token]))
    lengths = {len(word) for word in words}
    length = lengths.pop() if len(lengths) == 1 else None
    remainder = "pad_left" if length and length > 1 else "keep"
    return PromptForm("sequence", remainder=remainder, word_length=length, answers=(*free, *words))


def _used(tokenizer: "PreTrainedTokenizerBase") -> set[str | None]:
    """Return the special tokens that have a use of their own."""
    names = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "sep_token", "cls_token")
    # GENERator's settings do not say what its <mask> is.
    return {"<mask>", *(getattr(tokenizer, name, None) for name in names)}
