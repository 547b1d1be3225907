"""Rows in which many examples share one prefix, exactly.

All prompts of a task begin with the same tokens. A row holds that prefix once and examples behind it:

    [prefix] [example 1] [answer 1] [example 2] [answer 2] …          (training)
    [prefix] [example 1] [label 1] [label 2] … [example 2] [label 1] …  (scoring)

Each piece is a node of a tree: an example hangs on the prefix, a label on its example. A token sees the tokens of its
own piece up to itself and all tokens of the pieces above, and its position is its distance from the root, so every
token's hidden state is what it would be in a row of its own. An explicit mask is needed: left to infer packing from
restarted positions, transformers would cut the examples off from the prefix.

A model that cannot be served exactly so (`exactness.obstacle` tells) gets ordinary rows: one prompt and one answer in
each, padded on the right, without positions or mask of ours.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import torch

from dnatune.prompts import EncodedExamples

_NO_PARENT = -1
#: Fewest places that logits are computed at; the first is repeated where there are fewer. With less than 12 rows (and
#: not 4 or 8) MKL sums a product over the vocabulary in another way, off by 3e-6 instead of 3e-7 at 61,957 pieces, and
#: what is left of the hidden state's gradient after its large parts cancel was off by 1e-3.
FEWEST_LOGITS = 12


@dataclasses.dataclass(frozen=True)
class Rows:
    """How examples are put before a model.

    Attributes:
        examples_per_row: examples that share one prefix; None for ordinary rows.
        micro_batch_size: most examples in one forward pass of a rank.
    """

    examples_per_row: int | None
    micro_batch_size: int


@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """Rows ready for a model, and the places whose next token is scored.

    Attributes:
        input_ids: token ids [rows, length]; padding is 0 and seen by nothing.
        position_ids: distance from the root [rows, length]; None in ordinary rows, where the model counts itself.
        mask: True where a token (third axis) may look at another (fourth) [rows, 1, length, length]; in ordinary rows
            1 on tokens and 0 on padding [rows, length].
        rows, columns: place of the token that predicts each target [targets].
        targets: token ids [targets].
        owners: which answer each target belongs to, counting answers in the order they were given [targets].
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    mask: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor

    def to(self, device: torch.device) -> "PackedBatch":
        """Return the batch on another device."""
        tensors = (getattr(self, field.name) for field in dataclasses.fields(self))
        return PackedBatch(*(None if t is None else t.to(device, non_blocking=True) for t in tensors))


class _Row:
    """One row while it is being filled."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.pieces: list[int] = []
        self.parents: list[int] = []
        self.ends: list[int] = []
        self.targets: list[tuple[int, int, int]] = []

    def add(self, ids: Sequence[int], parent: int) -> int:
        """Append a piece below `parent` and return its number."""
        piece = len(self.parents)
        start = 0 if parent == _NO_PARENT else self.positions[self.ends[parent]] + 1
        self.ids.extend(ids)
        self.positions.extend(range(start, start + len(ids)))
        self.pieces.extend([piece] * len(ids))
        self.parents.append(parent)
        # An empty prefix ends nowhere; what hangs on it begins at position 0.
        self.ends.append(len(self.ids) - 1)
        return piece

    def add_answer(self, ids: Sequence[int], example: int, owner: int) -> None:
        """Append an answer below an example and note what predicts each of its tokens."""
        before = self.ends[example]
        start = len(self.ids)
        # The last token of an answer predicts nothing that is scored, so it need not be in the row.
        if len(ids) > 1:
            self.add(ids[:-1], example)
        for offset, target in enumerate(ids):
            self.targets.append((before if offset == 0 else start + offset - 1, target, owner))


def pack_training(examples: EncodedExamples, indices: Sequence[int], examples_per_row: int | None) -> PackedBatch:
    """Pack examples with their true answers; answer k belongs to `indices[k]`. None for `examples_per_row`: `Rows`."""
    return _pack(examples, [(i, [examples.answers[i]]) for i in indices], examples_per_row)


def pack_scoring(examples: EncodedExamples, indices: Sequence[int], examples_per_row: int | None) -> PackedBatch:
    """Pack examples with every label; answer k·classes + c is label c of `indices[k]`. None: `Rows`."""
    every = list(range(len(examples.labels)))
    return _pack(examples, [(i, every) for i in indices], examples_per_row)


def _pack(examples: EncodedExamples, items: list[tuple[int, list[int]]], examples_per_row: int | None) -> PackedBatch:
    if examples_per_row is None:
        pairs = [(examples.prompt(index), examples.labels[label]) for index, labels in items for label in labels]
        return _ordinary(pairs)
    rows, owner = [], 0
    # As few rows as that takes, filled alike: one last row with few examples would be mostly padding.
    count = -(-len(items) // examples_per_row)
    for number in range(count):
        row = _Row()
        root = row.add(examples.prefix, _NO_PARENT) if examples.prefix else _NO_PARENT
        for index, labels in items[number * len(items) // count : (number + 1) * len(items) // count]:
            example = row.add(examples.examples[index], root)
            for label in labels:
                row.add_answer(examples.labels[label], example, owner)
                owner += 1
        rows.append(row)
    return _to_batch(rows)


def _to_batch(rows: list[_Row]) -> PackedBatch:
    length = max(len(row.ids) for row in rows)
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    position_ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), 1, length, length, dtype=torch.bool)
    for number, row in enumerate(rows):
        used = len(row.ids)
        input_ids[number, :used] = torch.tensor(row.ids)
        position_ids[number, :used] = torch.tensor(row.positions)
        mask[number, 0, :used, :used] = tree_mask(row.pieces, row.parents)
    # Padding looks at itself: a softmax over nothing would be NaN.
    mask.diagonal(dim1=2, dim2=3).fill_(True)
    places = [(number, *target) for number, row in enumerate(rows) for target in row.targets]
    row_of, column_of, targets, owners = torch.tensor(places, dtype=torch.long).unbind(dim=1)
    return PackedBatch(input_ids, position_ids, mask, row_of, column_of, targets, owners)


def _ordinary(pairs: list[tuple[list[int], list[int]]]) -> PackedBatch:
    """Give each prompt and its answer a row; as in shared rows, an answer's last token is left out."""
    length = max(len(prompt) + len(answer) - 1 for prompt, answer in pairs)
    input_ids = torch.zeros(len(pairs), length, dtype=torch.long)
    mask = torch.zeros(len(pairs), length, dtype=torch.long)
    places = []
    for row, (prompt, answer) in enumerate(pairs):
        ids = [*prompt, *answer[:-1]]
        input_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
        places += [(row, len(prompt) - 1 + offset, target, row) for offset, target in enumerate(answer)]
    row_of, column_of, targets, owners = torch.tensor(places, dtype=torch.long).unbind(dim=1)
    return PackedBatch(input_ids, None, mask, row_of, column_of, targets, owners)


def tree_mask(pieces: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
    """Return which token sees which: [tokens, tokens], True where the column is in the row's past.

    Args:
        pieces: the piece of each token.
        parents: the parent of each piece, -1 for a root.
    """
    above = torch.zeros(len(parents), len(parents), dtype=torch.bool)
    for piece, parent in enumerate(parents):
        if parent != _NO_PARENT:
            above[piece] = above[parent]
        above[piece, piece] = True
    piece = torch.tensor(pieces)
    return above[piece][:, piece].tril()


def chunks(indices: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    """Yield `indices` in consecutive chunks of at most `size`."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def examples_per_row(examples: EncodedExamples, break_even: float, scoring: bool = False) -> int:
    """Return how many examples share a row: as many as fit into the length that costs least, at least one.

    A row of L tokens repeats a prefix of P for its L − P others, and its dense attention costs L ÷ `break_even` of its
    linear layers, so an example costs (1 + L/c) · L/(L − P), which is least at L = P + √(P² + c·P).

    Args:
        examples: an encoded split.
        break_even: tokens of context at which attention costs a model as much as its linear layers, c.
        scoring: whether an example carries every label, or only its own.
    """
    labels = [len(ids) - 1 for ids in examples.labels]
    own = max(map(len, examples.examples)) + (sum(labels) if scoring else max(labels))
    return max(1, int(math.sqrt(len(examples.prefix) ** 2 + break_even * len(examples.prefix)) / own))
