"""Next-token training of a tiny model on DNA, so that it knows sequences and the form of the tasks but no answer."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dnatune.contracts import NatsPerToken, Record, Seconds
from dnatune.data.leakage import Relative, rows_with_relatives
from dnatune.data.positional_twins import too_many
from dnatune.data.prompts import encode_examples, render
from dnatune.data.records import Split
from dnatune.errors import DataError
from dnatune.settings.sources import Pretraining, TaskSettings, TinyModel

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: A sequence that has one of these among the test items is left out, besides copies and near-copies.
_RELATIVES: tuple[Relative, ...] = ("twins", "shared_words")
#: Steps over which the learning rate rises, as a share of all, and the loss that is written down at the end.
_WARM_UP, _REPORTED = 0.05, 20
_CLIP = 1.0
#: Longest row; a tiny model has as many positions.
_MOST_TOKENS = 4096


class PretrainingRecord(Record):
    """pretraining.json: what a base model that was made here was trained on, in its folder."""

    tasks: list[str]
    """Tasks whose training sequences were used."""
    sequences: int
    """Distinct sequences that the model was trained on."""
    left_out: dict[str, int]
    """By reported task, sequences that were left out because a test item of it is a relative."""
    related_test_items: dict[str, int]
    """By reported task, test items that still have a relative among the sequences, looked for from their side; 0."""
    steps: int
    """Number of steps."""
    loss: NatsPerToken
    """Mean loss of the last 20 steps."""
    seconds: Seconds
    """Wall time of training."""


def choose_sequences(
    candidates: Mapping[str, Sequence[str]], tests: Mapping[str, Sequence[str]], most: int, seed: int, similarity: float
) -> tuple[list[str], dict[str, int]]:
    """Return the sequences to train on, and how many were left out for each reported task.

    Args:
        candidates: training sequences by task.
        tests: test sequences by reported task; no relative of one is trained on.
        most: of more distinct sequences so many are drawn.
        seed: of the draw.
        similarity: least Jaccard index of near-copies.

    Raises:
        DataError: there are too many bases to look for relatives, or nothing is left.
    """
    distinct = _distinct(*candidates.values())
    if len(distinct) > most:
        drawn = np.random.default_rng(seed).choice(len(distinct), most, replace=False)
        distinct = [distinct[index] for index in sorted(drawn)]
    for task, known in tests.items():
        if too_many(distinct, known):
            raise DataError(
                "there are too many bases to look for relatives of test items",
                where=f"pretraining, task {task}",
                fix="train on fewer sequences: 'models.<name>.tiny.pretrain.sequences'",
            )
    kept, left_out = distinct, dict.fromkeys(tests, 0)
    # A word is a repeat while many have it; without those that are left out it may become the mark of a twin.
    while True:
        out = {
            task: rows_with_relatives(kept, known, _distinct(kept, known), similarity, _RELATIVES)
            for task, known in tests.items()
        }
        gone = set().union(*out.values())
        if not gone:
            break
        left_out = {task: left_out[task] + len(out[task]) for task in tests}
        kept = [sequence for index, sequence in enumerate(kept) if index not in gone]
    if not kept:
        raise DataError(
            f"all {len(distinct)} sequences are relatives of test items",
            where="pretraining",
            fix="take the sequences of other tasks: 'models.<name>.tiny.pretrain.tasks'",
        )
    return kept, left_out


def related_items(sequences: Sequence[str], tests: Mapping[str, Sequence[str]], similarity: float) -> dict[str, int]:
    """Return by task how many test items have a relative among the sequences, looked for from the items' side."""
    return {
        task: len(rows_with_relatives(known, sequences, _distinct(sequences, known), similarity, _RELATIVES))
        for task, known in tests.items()
    }


def _distinct(*parts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(itertools.chain(*parts)))


def forms(tasks: Sequence[TaskSettings]) -> list[str]:
    """Return the prompts without a sequence and the labels of the tasks, whose words a tokenizer shall have."""
    return [text for task in tasks for text in (render(task.instruction, ""), *task.labels)]


def pretrain(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    sequences: Sequence[str],
    tasks: Sequence[TaskSettings],
    tiny: TinyModel,
    device: str,
) -> list[float]:
    """Train a model in place by AdamW on the next token of prompts with sequences, each with a random label.

    Args:
        model: a causal language model, fp32.
        tokenizer: its tokenizer.
        sequences: DNA.
        tasks: whose instructions and labels, drawn at random, stand around the sequences.
        tiny: settings of the model, with `pretrain`.
        device: where to compute.

    Returns:
        Mean loss of each step [steps], nats per token.
    """
    import torch
    from tqdm import tqdm

    settings = tiny.pretrain
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(settings))
    losses = []
    batches = _batches(tokenizer, sequences, tasks, settings, tiny.seed)
    for batch in tqdm(batches, total=settings.steps, desc="pretraining", unit="step", mininterval=10):
        tokens, targets = (part.to(device) for part in batch)
        loss = model(input_ids=tokens, labels=targets).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.to("cpu").eval()
    return losses


def final_loss(losses: Sequence[float]) -> float:
    """Return the mean loss of the last steps."""
    return float(np.mean(losses[-_REPORTED:]))


def _schedule(settings: Pretraining) -> Callable[[int], float]:
    """Return the learning rate's factor by step: a linear rise, then half a cosine to zero."""
    rise = max(1, round(_WARM_UP * settings.steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, settings.steps - rise)))

    return factor


def _batches(
    tokenizer: "PreTrainedTokenizerBase",
    sequences: Sequence[str],
    tasks: Sequence[TaskSettings],
    settings: Pretraining,
    seed: int,
) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """Yield token ids and targets, int64 [batch, tokens] each; −100 where there is no target.

    A batch is of one task, drawn at random. The sequences are shuffled anew in each pass.
    """
    import torch

    generator, order = np.random.default_rng(seed), np.empty(0, np.int64)
    for _ in range(settings.steps):
        while len(order) < settings.batch_size:
            order = np.concatenate([order, generator.permutation(len(sequences))])
        chosen, order = order[: settings.batch_size], order[settings.batch_size :]
        task = tasks[generator.integers(len(tasks))]
        answers = generator.integers(len(task.labels), size=len(chosen)).tolist()
        split = Split(task.instruction, [sequences[index] for index in chosen], answers)
        # As for every other training: prompt and answer are encoded apart.
        examples = encode_examples(tokenizer, split, task.labels, _MOST_TOKENS, "sequences of pretraining")
        rows = [[*examples.prompt(index), *examples.answer(index)] for index in range(len(examples))]
        tokens = torch.full((len(rows), max(map(len, rows))), tokenizer.eos_token_id)
        targets = torch.full_like(tokens, -100)
        for row, ids in enumerate(rows):
            tokens[row, : len(ids)] = targets[row, : len(ids)] = torch.tensor(ids)
        yield tokens, targets
