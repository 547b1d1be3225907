"""Recipes for the same training and the same scoring: the original's, common practice's and dnatune's.

All recipes compute the same loss and the same score per label for the same examples; they differ in the additional
work they do. dnatune's recipe calls the same functions as dnatune's training and scoring.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from dnatune.benchmark.kernels import liger_kernels
from dnatune.data.prompts import EncodedExamples
from dnatune.model.base_models import causal_model
from dnatune.model.flops import Work, executed, padded_work, required_work
from dnatune.model.label_likelihood import LabelLikelihood, log_probabilities, logits_at
from dnatune.model.micro_batch import checkpointed
from dnatune.model.shared_prefix.packing import FEWEST_LOGITS, PackedBatch, chunks, pack_training

#: The label that transformers' loss ignores.
_IGNORED = -100
#: Rows per micro-batch: in the original, and in common practice on a CPU.
ORIGINAL_ROWS, COMMON_ROWS = 2, 16
#: Tokens that the original generates per example.
ORIGINAL_NEW_TOKENS = 8
#: Name of dnatune's recipe.
OWN = "shared prefix"
#: Kinds of rows; see `TrainingRecipe`.
ALL_LOGITS, LABEL_LOGITS, SHARED = "padded, all logits", "padded, logits of answers", "shared"


@dataclasses.dataclass(frozen=True)
class PaddedBatch:
    """Ordinary rows, padded on the right to one length.

    Attributes:
        input_ids: token ids of prompt and answer [rows, length].
        attention_mask: 1 on tokens, 0 on padding [rows, length].
        labels: token ids of the answers, and -100 everywhere else [rows, length].
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> "PaddedBatch":
        """Return the batch on another device."""
        return PaddedBatch(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))


def pad_rows(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> PaddedBatch:
    """Return one padded row per prompt and its answer."""
    length = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    batch = PaddedBatch(
        torch.zeros(len(prompts), length, dtype=torch.long),
        torch.zeros(len(prompts), length, dtype=torch.long),
        torch.full((len(prompts), length), _IGNORED),
    )
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        used = len(prompt) + len(answer)
        batch.input_ids[row, :used] = torch.tensor([*prompt, *answer])
        batch.attention_mask[row, :used] = 1
        batch.labels[row, len(prompt) : used] = torch.tensor(answer)
    return batch


class RecipeLoss(nn.Module):
    """Computes the loss of a recipe's batches.

    Args:
        model: the adapted model.
        shared: whether the batches are shared rows. If not, nothing of dnatune's changes the model.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, shared: bool):
        super().__init__()
        self.model = model
        self.likelihood = LabelLikelihood(model) if shared else None

    def forward(self, batch: PaddedBatch | PackedBatch, tokens: int) -> torch.Tensor:
        """Return the batch's part of the loss: the negative log-likelihood of its answers, summed, ÷ `tokens`.

        Args:
            batch: the rows. For a `PaddedBatch`, transformers computes the logits of every token and the loss.
            tokens: number of answer tokens in the global batch.
        """
        if isinstance(batch, PackedBatch):
            chosen = self.likelihood(batch) if batch.groups else self._at_labels(batch)
            return -chosen.sum() / tokens
        return self.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            labels=batch.labels,
            use_cache=False,
            # A tensor, because transformers' Trainer passes a tensor.
            num_items_in_batch=torch.tensor(tokens, device=batch.labels.device),
        ).loss

    def _at_labels(self, batch: PackedBatch) -> torch.Tensor:
        """Return log p of the targets of ordinary rows, with logits computed only there."""
        causal = causal_model(self.model)
        decoder = causal.get_decoder()
        hidden = decoder(input_ids=batch.input_ids, attention_mask=batch.mask, use_cache=False).last_hidden_state
        return log_probabilities(logits_at(causal, hidden, batch), batch.targets)


@dataclasses.dataclass(frozen=True)
class TrainingRecipe:
    """A way to compute the gradient of a global batch.

    Attributes:
        name: the name in the tables.
        micro_batch_size: number of examples per forward pass.
        checkpointing: whether gradient checkpointing is on.
        rows: `ALL_LOGITS` or `LABEL_LOGITS`: one padded row per example, with logits of all tokens or of the answer
            only; `SHARED`: one row per micro-batch.
        liger: whether Liger's kernels replace those of transformers.
    """

    name: str
    micro_batch_size: int
    checkpointing: bool
    rows: str
    liger: bool = False

    def micro_batches(self, examples: EncodedExamples, indices: Sequence[int]) -> list[PaddedBatch | PackedBatch]:
        """Return the micro-batches of the given examples."""
        return [self._rows(examples, part) for part in chunks(indices, self.micro_batch_size)]

    def _rows(self, examples: EncodedExamples, part: Sequence[int]) -> PaddedBatch | PackedBatch:
        if self.rows == ALL_LOGITS:
            return pad_rows([examples.prompt(i) for i in part], [examples.answer(i) for i in part])
        return pack_training(examples, part, shared=self.rows == SHARED)


def practice_recipes(liger: bool) -> list[TrainingRecipe]:
    """Return the recipes of others, each of which avoids one more kind of waste than the one before it.

    Args:
        liger: whether the recipes except the original use Liger's kernels.
    """
    return [
        TrainingRecipe("original", ORIGINAL_ROWS, True, ALL_LOGITS),
        TrainingRecipe("common practice", COMMON_ROWS, False, ALL_LOGITS, liger),
        TrainingRecipe("label-only logits", COMMON_ROWS, False, LABEL_LOGITS, liger),
    ]


def own_recipe(micro_batch_size: int, checkpointing: bool) -> TrainingRecipe:
    """Return dnatune's recipe."""
    return TrainingRecipe(OWN, micro_batch_size, checkpointing, SHARED)


def work_of(batches: Sequence[PaddedBatch | PackedBatch]) -> Work:
    """Return the work that the device executes for the given rows."""
    total = Work(0, 0, 0)
    for batch in batches:
        if isinstance(batch, PackedBatch):
            total += dataclasses.replace(executed(batch), logits=max(FEWEST_LOGITS, len(batch.targets)))
        else:
            total += padded_work(*batch.input_ids.shape, batch.input_ids.numel())
    return total


def floor_work(batches: Sequence[PackedBatch]) -> Work:
    """Return the least work that a forward pass over shared-prefix rows requires."""
    return sum((required_work(batch) for batch in batches), Work(0, 0, 0))


def answer_tokens(examples: EncodedExamples, indices: Sequence[int]) -> int:
    """Return the number of tokens in the true answers of the given examples; the loss is divided by it."""
    return sum(len(examples.answer(i)) for i in indices)


def gradient(
    model: PeftModel, recipe: TrainingRecipe, examples: EncodedExamples, indices: Sequence[int]
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradient {name: tensor} of the given examples, without dropout and outside any engine."""
    loss = RecipeLoss(model, recipe.rows == SHARED).train()
    tokens = answer_tokens(examples, indices)
    device = next(model.parameters()).device
    total = 0.0
    with _without_dropout(model), checkpointed(model, recipe.checkpointing), liger_kernels(model, recipe.liger):
        for batch in recipe.micro_batches(examples, indices):
            part = loss(batch.to(device), tokens)
            part.backward()
            total += float(part.detach())
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return total, gradients


@contextlib.contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Turn dropout off: it draws once per shared prefix but once per ordinary row, so recipes agree only without it."""
    drops = [(module, module.p) for module in model.modules() if isinstance(module, nn.Dropout)]
    for module, _ in drops:
        module.p = 0.0
    try:
        yield
    finally:
        for module, probability in drops:
            module.p = probability


@dataclasses.dataclass(frozen=True)
class OneByOneScores:
    """The original's scores of each example.

    Attributes:
        first: log p of the first token of each label [examples, labels].
        generated: token ids generated for each example.
    """

    first: np.ndarray
    generated: list[list[int]]


@torch.no_grad()
def score_one_by_one(
    model: PreTrainedModel,
    examples: EncodedExamples,
    indices: Sequence[int],
    end: int,
    new_tokens: Callable[[int], int],
) -> OneByOneScores:
    """Score as the original does: generate text, then run the prompt again for the labels' first tokens.

    Args:
        model: a causal model in evaluation mode.
        examples: the encoded split.
        indices: indices of the examples to score.
        end: end-of-sequence token.
        new_tokens: returns the maximum number of tokens to generate for an example, given its index.
    """
    heads = torch.tensor([label[0] for label in examples.labels], device=model.device)
    first, generated = [], []
    for index in indices:
        prompt = torch.tensor([examples.prompt(index)], device=model.device)
        seen = torch.ones_like(prompt)
        output = model.generate(
            input_ids=prompt,
            attention_mask=seen,
            max_new_tokens=new_tokens(index),
            do_sample=False,
            num_beams=1,
            eos_token_id=end,
            pad_token_id=end,
        )
        generated.append(output[0, prompt.shape[1] :].tolist())
        logits = model(input_ids=prompt, attention_mask=seen).logits[0, -1].float()
        first.append(logits.log_softmax(dim=-1)[heads].cpu().numpy())
    return OneByOneScores(np.stack(first), generated)


@torch.no_grad()
def score_in_rows(model: PreTrainedModel, examples: EncodedExamples, indices: Sequence[int], rows: int) -> np.ndarray:
    """Score as in common practice: one padded row per example and label, with logits of every token.

    Args:
        model: a causal model in evaluation mode.
        examples: the encoded split.
        indices: indices of the examples to score.
        rows: number of rows per forward pass.

    Returns:
        log p of each token of each label [examples, labels, tokens of the longest label]; shorter labels are padded
        with 0.
    """
    pairs = [(index, label) for index in indices for label in examples.labels]
    scores = np.zeros((len(pairs), max(map(len, examples.labels))))
    done = 0
    for part in chunks(pairs, rows):
        batch = pad_rows([examples.prompt(i) for i, _ in part], [label for _, label in part]).to(model.device)
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
        log_p = logits[:, :-1].float().log_softmax(dim=-1)
        targets = batch.labels[:, 1:]
        chosen = log_p.gather(2, targets.clamp(min=0)[:, :, None])[:, :, 0].cpu().numpy()
        for row, (index, label) in enumerate(part):
            start = len(examples.prompt(index)) - 1
            scores[done + row, : len(label)] = chosen[row, start : start + len(label)]
        done += len(part)
    return scores.reshape(len(indices), len(examples.labels), -1)


def one_by_one_work(examples: EncodedExamples, indices: Sequence[int], new_tokens: Callable[[int], int]) -> Work:
    """Return the work that `score_one_by_one` executes if it always generates the maximum number of tokens."""
    total = Work(0, 0, 0)
    for index in indices:
        prompt, new = len(examples.prompt(index)), new_tokens(index)
        # The prompt with logits of its last token, then every new token except the last, with a growing context.
        generated = Work(prompt + new - 1, prompt**2 + sum(prompt + k for k in range(1, new)), new)
        total += generated + padded_work(1, prompt, prompt)
    return total


def in_rows_work(examples: EncodedExamples, indices: Sequence[int], rows: int) -> Work:
    """Return the work that `score_in_rows` executes."""
    lengths = [len(examples.prompt(i)) + len(label) for i in indices for label in examples.labels]
    total = Work(0, 0, 0)
    for part in chunks(lengths, rows):
        total += padded_work(len(part), max(part), len(part) * max(part))
    return total
