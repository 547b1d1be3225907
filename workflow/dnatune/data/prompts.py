"""One form of prompts for training, scoring and generation; text becomes token ids here and nowhere else."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnatune.data import tokens
from dnatune.data.prompt_form import TEMPLATE, PromptForm
from dnatune.data.records import Split
from dnatune.errors import DataError, ModelError
from dnatune.launch.process_group import Rank
from dnatune.settings.prompt import PromptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EncodedExamples:
    """Prompts and answers of a split as token ids; a prompt is `prefix + examples[i]`.

    Attributes:
        prefix: token ids that every prompt begins with, start-of-sequence included; may be empty.
        examples: the rest of each prompt, at least one token each.
        answers: index into `labels` of each example's answer.
        labels: token ids of each possible answer, end-of-sequence included; of a classification head, the index of the
            class alone.
        unknown_share: share of the prompts' tokens that the tokenizer does not know.
    """

    prefix: list[int]
    examples: Sequence[list[int]]
    answers: list[int]
    labels: list[list[int]]
    unknown_share: float = 0.0

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.examples)

    @property
    def longest_prompt(self) -> int:
        """Return the number of tokens of the longest prompt."""
        return len(self.prefix) + max(map(len, self.examples))

    @property
    def longest_label(self) -> int:
        """Return the number of tokens of the longest label; 0 if they are outputs of a classification head."""
        longest = max(map(len, self.labels))
        return longest if longest > 1 else 0

    def prompt(self, index: int) -> list[int]:
        """Return the whole prompt of one example."""
        return self.prefix + self.examples[index]

    def subset(self, indices: Sequence[int]) -> "EncodedExamples":
        """Return these examples alone, in that order."""
        chosen = {"examples": [self.examples[i] for i in indices], "answers": [self.answers[i] for i in indices]}
        return dataclasses.replace(self, **chosen)

    def answer(self, index: int) -> list[int]:
        """Return the token ids of one example's true answer, end-of-sequence included."""
        return self.labels[self.answers[index]]


def render(instruction: str, sequence: str) -> str:
    """Return the prompt text of a sequence in the form that a vocabulary of text gets."""
    return TEMPLATE.format(instruction=instruction, input=sequence)


def encode_labels(tokenizer: "PreTrainedTokenizerBase", labels: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each label as an answer, end-of-sequence included.

    Raises:
        ModelError: the tokenizer has no end-of-sequence token, does not know a label, or gives two the same ids.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError(
            "the tokenizer has no end-of-sequence token",
            where=str(tokenizer.name_or_path),
            fix="set eos_token in its tokenizer_config.json",
        )
    encoded = [[*tokenizer(label, add_special_tokens=False).input_ids, end] for label in labels]
    unknown = unknown_tokens(tokenizer)
    lost = [
        label for label, ids in zip(labels, encoded, strict=True) if len(ids) == 1 or not unknown.isdisjoint(ids[:-1])
    ]
    if lost:
        raise ModelError(
            f"the tokenizer does not know the label {', '.join(map(repr, lost))}: "
            "it has no token, or an unknown one, for a part of it",
            where=str(tokenizer.name_or_path),
            fix="give the task 'labels' of words that are in the tokenizer's vocabulary, name tokens of it in "
            "'models.<name>.prompt.answers', or choose another model",
        )
    for (first, left), (second, right) in itertools.combinations(zip(labels, encoded, strict=True), 2):
        if left == right:
            raise ModelError(
                f"labels {first!r} and {second!r} have the same token ids",
                where=str(tokenizer.name_or_path),
                fix="choose label words that this tokenizer tells apart",
            )
    return encoded


def unknown_tokens(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Return the token ids that stand for whatever the tokenizer does not know; none of a tokenizer that knows all."""
    found = {tokenizer.unk_token_id}
    if tokenizer.is_fast:
        backend = tokenizer.backend_tokenizer
        # Its own file may name one that tokenizer_config.json does not.
        own = getattr(backend.model, "unk_token", None)
        found.add(backend.token_to_id(own) if own else None)
    return found - {None}


def _unknown_share(tokenizer: "PreTrainedTokenizerBase", prefix: list[int], examples: Sequence[list[int]]) -> float:
    """Return which share of the tokens of all prompts the tokenizer does not know."""
    # GPT-2 has one token for the unknown, which it never meets, and for begin and end of a text.
    unknown = unknown_tokens(tokenizer) - {tokenizer.bos_token_id, tokenizer.eos_token_id}
    if not unknown:
        return 0.0
    found = total = 0
    for row in itertools.chain([prefix] * len(examples), examples):
        found, total = found + sum(map(row.count, unknown)), total + len(row)
    return found / total


def encode_examples(
    tokenizer: "PreTrainedTokenizerBase",
    split: Split,
    labels: Sequence[str],
    most_tokens: int | None,
    source: str,
    rank: Rank | None = None,
    prompt: PromptSettings | None = None,
) -> EncodedExamples:
    """Encode a split as prompts and answers.

    Prompt and answer are encoded apart and joined, so the answer's ids never depend on the prompt's last letters.

    Args:
        tokenizer: the model's tokenizer.
        split: the examples.
        labels: the task's label words.
        most_tokens: of prompt and longest label together (`training.max_seq_length`); None: any number.
        source: file of records that the examples come from, for messages.
        rank: if given, all ranks call this together, and the tokens of a large split are kept beside `source`.
        prompt: what is configured of the prompts' form; the rest follows from the vocabulary.

    Raises:
        DataError: an example leaves no room for its label.
        ModelError: see `encode_labels`.
        ConfigurationError: see `PromptForm`.
    """
    form = PromptForm.of(tokenizer, prompt)
    label_ids = encode_labels(tokenizer, form.words(labels))
    make = functools.partial(tokenize, tokenizer, form, split.instruction, split.sequences)
    if rank is None or len(split) < tokens.LEAST_ROWS:
        prefix, examples = make()
    else:
        texts = [TEMPLATE, *dataclasses.astuple(form), split.instruction, *split.sequences]
        prefix, examples = tokens.kept_tokens(Path(source).parent / "tokens", tokenizer, texts, make, rank)
    longest_label = max(map(len, label_ids))
    for line, length in enumerate(map(len, examples), start=1):
        if most_tokens is not None and len(prefix) + length + longest_label > most_tokens:
            raise DataError(
                f"the prompt has {len(prefix) + length} tokens and the longest label {longest_label}: "
                f"the label does not fit into max_seq_length {most_tokens}",
                where=f"{source}, line {line}",
                fix="raise 'training.max_seq_length' or set it to auto, or leave the sequence out; nothing is ever cut",
            )
    unknown = _unknown_share(tokenizer, prefix, examples)
    _warn_of_unknown(unknown, source, rank)
    return EncodedExamples(prefix, examples, list(split.labels), label_ids, unknown)


def encode_sequences(
    tokenizer: "PreTrainedTokenizerBase",
    split: Split,
    labels: Sequence[str],
    most_tokens: int | None,
    source: str,
    rank: Rank | None = None,
) -> EncodedExamples:
    """Encode a split for a model with a classification head: sequences alone, as its tokenizer opens and closes them.

    Args:
        tokenizer: the model's tokenizer.
        split: the examples.
        labels: the task's label words; of a class only its index matters.
        most_tokens: of a sequence (`training.max_seq_length`); None: any number.
        source: file of records that the examples come from, for messages.
        rank: see `encode_examples`.

    Raises:
        DataError: a sequence has more tokens.
    """
    make = functools.partial(tokenize_alone, tokenizer, split.sequences)
    if rank is None or len(split) < tokens.LEAST_ROWS:
        prefix, examples = make()
    else:
        texts = ["sequences alone", *split.sequences]
        prefix, examples = tokens.kept_tokens(Path(source).parent / "tokens", tokenizer, texts, make, rank)
    for line, length in enumerate(map(len, examples), start=1):
        if most_tokens is not None and length > most_tokens:
            raise DataError(
                f"the sequence has {length} tokens, and max_seq_length is {most_tokens}",
                where=f"{source}, line {line}",
                fix="raise 'training.max_seq_length' or set it to auto, or leave the sequence out; nothing is ever cut",
            )
    unknown = _unknown_share(tokenizer, prefix, examples)
    _warn_of_unknown(unknown, source, rank)
    return EncodedExamples(prefix, examples, list(split.labels), class_indices(labels), unknown)


def class_indices(labels: Sequence[str]) -> list[list[int]]:
    """Return what stands for the token ids of the labels where a classification head has an output for each."""
    return [[index] for index in range(len(labels))]


def tokenize_alone(tokenizer: "PreTrainedTokenizerBase", sequences: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Return the token ids of sequences alone, without a prefix that they share."""
    return [], tokenizer(list(sequences)).input_ids


def _warn_of_unknown(share: float, source: str, rank: Rank | None) -> None:
    if share and (rank is None or rank.first):
        _LOG.warning("the tokenizer does not know %.3g %% of the tokens of the prompts in %s", 100 * share, source)


def tokenize(
    tokenizer: "PreTrainedTokenizerBase", form: PromptForm, instruction: str, sequences: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Return the token ids that the prompts of all sequences begin with, and those behind them of each."""
    prompts = tokenizer([form.text(instruction, sequence) for sequence in sequences]).input_ids
    end = tokenizer.eos_token_id
    # Some tokenizers close every text; a prompt is open until the answer ends it.
    prompts = [ids[:-1] if ids[-1] == end else ids for ids in prompts]
    shared = common_prefix_length(prompts)
    return prompts[0][:shared], [ids[shared:] for ids in prompts]


def common_prefix_length(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many leading token ids all sequences share, leaving each at least one of its own.

    The longest common prefix of a set is that of its least and greatest member in lexicographic order.
    """
    first, last = min(sequences), max(sequences)
    most = min(map(len, sequences)) - 1
    return next((i for i in range(most) if first[i] != last[i]), most)
