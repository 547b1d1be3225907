"""Rows in which many examples share one prefix, with exact results.

All prompts of a task begin with the same tokens. A micro-batch is one row that holds this prefix once, followed by the
examples:

    [prefix] [example 1] [answer 1] [example 2] [answer 2] …          (training)
    [prefix] [example 1] [label 1] [label 2] … [example 2] [label 1] …  (scoring)

The pieces form a tree: the prefix is the parent of every example, and an example is the parent of its labels. A token
attends to the tokens of its own piece up to itself and to all tokens of the pieces above, and its position is its
distance from the root. So every token has the same hidden state as in a row of its own. `attention` computes little
more than that: examples of similar length attend side by side, padded to the longest of them. So the cost of an example
does not depend on the other examples, and the row grows with the micro-batch.

A model for which this is not exact (see `exactness.why_not_shared`), and one with a classification head, gets ordinary
rows: one prompt and one answer per row, or all its answers if they are of one token. They are padded on the right,
without positions and with an ordinary padding mask.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from dnatune.data.prompts import EncodedExamples

#: Minimum number of positions at which logits are computed; if there are fewer, the first is repeated. With less than
#: 12 rows (except 4 and 8), MKL sums a product over the vocabulary in another order, with an error of 3e-6 instead of
#: 3e-7 at 61,957 tokens; the hidden state's gradient, in which large parts cancel, then had an error of 1e-3.
FEWEST_LOGITS = 12
#: The piece of an example's own tokens.
_EXAMPLE = 0
#: Examples attend side by side if the longest has at most `_TIMES` as many tokens as the shortest, or at most `_MORE`
#: tokens more; see benchmarks/README.md.
_TIMES, _MORE = 1.5, 16


@dataclasses.dataclass(frozen=True)
class Rows:
    """The kind and size of the rows that a model is given.

    Attributes:
        shared: whether the examples of a micro-batch share one row and its prefix; otherwise each has an ordinary row.
        micro_batch_size: maximum number of examples per forward pass of a rank.
        recomputed: whether gradient checkpointing is on.
    """

    shared: bool
    micro_batch_size: int
    recomputed: bool = False


@dataclasses.dataclass(frozen=True)
class Group:
    """Examples of a shared row that attend side by side; their tokens are contiguous in the row.

    With `own` = tokens of the longest example:

    Attributes:
        mask: True if a token may attend to a token of the prefix or of its own example
            [examples, 1, own, prefix + own]. Slots without a token see what is before them, and no token sees them.
        slots: index of each token in the flattened grid examples × own [tokens].
        examples: indices of these examples among the packed examples, in the order given [examples].
    """

    mask: torch.Tensor
    slots: torch.Tensor
    examples: torch.Tensor

    @property
    def own(self) -> int:
        """Return the number of tokens of the longest example."""
        return self.mask.shape[2]

    @property
    def prefix(self) -> int:
        """Return the number of tokens of the prefix."""
        return self.mask.shape[3] - self.own

    @property
    def owners(self) -> torch.Tensor:
        """Return the index of the example that each token belongs to [tokens]."""
        return self.examples[self.slots // self.own]


@dataclasses.dataclass(frozen=True)
class PackedBatch:
    """Rows ready for a model, and the positions whose next token is scored.

    Attributes:
        input_ids: token ids [rows, length]; a shared row is a single row without padding. Ordinary rows are padded
            with 0.
        position_ids: distance from the root [1, length]; None for ordinary rows, where the model sets the positions.
        mask: for ordinary rows, 1 on tokens and 0 on padding [rows, length]; None for a shared row.
        groups: the groups of a shared row, in the order of their tokens after the prefix; empty for ordinary rows.
        rows, columns: position of the token that predicts each target [targets], in the order of the answers.
        targets: token ids [targets].
        owners: index of the answer that each target belongs to, in the order in which the answers were given [targets].
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor | None
    mask: torch.Tensor | None
    groups: tuple[Group, ...]
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    owners: torch.Tensor

    def __len__(self) -> int:
        """Return the number of examples in a shared row, or the number of ordinary rows."""
        return sum(len(group.examples) for group in self.groups) or len(self.input_ids)

    def to(self, device: torch.device) -> "PackedBatch":
        """Return the batch on another device."""
        return _moved(self, device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple):
        return tuple(_moved(item, device) for item in value)
    if dataclasses.is_dataclass(value):
        return type(value)(*(_moved(getattr(value, field.name), device) for field in dataclasses.fields(value)))
    return value


def pack_training(examples: EncodedExamples, indices: Sequence[int], shared: bool) -> PackedBatch:
    """Pack examples with their true answers; answer k is that of `indices[k]`. For `shared`, see `Rows`."""
    return _pack(examples, [(i, [examples.answers[i]]) for i in indices], shared)


def pack_scoring(examples: EncodedExamples, indices: Sequence[int], shared: bool) -> PackedBatch:
    """Pack examples with every label; answer k·classes + c is label c of `indices[k]`. For `shared`, see `Rows`."""
    every = list(range(len(examples.labels)))
    return _pack(examples, [(i, every) for i in indices], shared)


def _pack(examples: EncodedExamples, items: list[tuple[int, list[int]]], shared: bool) -> PackedBatch:
    if not shared:
        rows = []
        for index, labels in items:
            prompt, answers = examples.prompt(index), [examples.labels[label] for label in labels]
            # Nothing of an answer of one token is in a row, so all of an example share one.
            together = all(len(answer) == 1 for answer in answers)
            rows += [(prompt, answers)] if together else [(prompt, [answer]) for answer in answers]
        return _ordinary(rows)
    trees = [_tree(examples.examples[index], [examples.labels[label] for label in labels]) for index, labels in items]
    first_answers = [0, *itertools.accumulate(tree.answers for tree in trees)]
    prefix = len(examples.prefix)
    ids, positions, places, groups = list(examples.prefix), list(range(prefix)), [], []
    for members in side_by_side([len(tree.ids) for tree in trees]):
        for number in members:
            tree = trees[number]
            owner = first_answers[number]
            places += [(len(ids) + before, target, owner + answer) for before, target, answer in tree.targets]
            ids += tree.ids
            positions += [prefix + depth for depth in tree.depths]
        groups.append(_group([trees[number] for number in members], members, prefix))
    # Sorted by answer; the order in the row may differ.
    places.sort(key=lambda place: place[2])
    columns, targets, owners = torch.tensor(places, dtype=torch.long).unbind(dim=1)
    return PackedBatch(
        torch.tensor([ids]),
        torch.tensor([positions]),
        None,
        tuple(groups),
        torch.zeros_like(columns),
        columns,
        targets,
        owners,
    )


def side_by_side(lengths: Sequence[int]) -> list[list[int]]:
    """Return groups of examples of similar length, which attend side by side.

    Args:
        lengths: number of tokens of each example.

    Returns:
        The indices of the examples of each group, shortest examples first.
    """
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not groups or lengths[number] > max(_TIMES * lengths[groups[-1][0]], _MORE + lengths[groups[-1][0]]):
            groups.append([])
        groups[-1].append(number)
    # Within a group, examples keep the order in which they were given.
    return [sorted(group) for group in groups]


def _group(trees: "Sequence[_Tree]", members: Sequence[int], prefix: int) -> Group:
    lengths = np.array([len(tree.ids) for tree in trees])
    own = int(lengths.max())
    places = np.arange(own)
    used = places < lengths[:, None]
    # Empty slots come after all others, so no token attends to them. They attend, like a token, to their own past:
    # a softmax over nothing would be NaN.
    pieces = np.full(used.shape, _EXAMPLE)
    pieces[used] = np.fromiter(itertools.chain.from_iterable(tree.pieces for tree in trees), int, lengths.sum())
    mask = np.ones((len(trees), 1, own, prefix + own), dtype=bool)
    related = (pieces[:, None, :] == _EXAMPLE) | (pieces[:, None, :] == pieces[:, :, None])
    mask[:, 0, :, prefix:] = related & (places <= places[:, None])
    return Group(*map(torch.from_numpy, (mask, np.flatnonzero(used), np.array(members))))


@dataclasses.dataclass(frozen=True)
class _Tree:
    """An example and the answers that follow it.

    Attributes:
        ids: token ids.
        depths: distance of each token from the example's first token.
        pieces: the piece of each token: `_EXAMPLE`, then one number per answer.
        targets: (offset of the preceding token, token id, answer) of each token that is scored.
        answers: number of answers.
    """

    ids: list[int]
    depths: list[int]
    pieces: list[int]
    targets: list[tuple[int, int, int]]
    answers: int


def _tree(example: Sequence[int], answers: Sequence[Sequence[int]]) -> _Tree:
    """Return the tree of an example, which has at least one token, and its answers."""
    tree = _Tree(list(example), list(range(len(example))), [_EXAMPLE] * len(example), [], len(answers))
    for number, answer in enumerate(answers):
        start = len(tree.ids)
        # No scored token follows the last token of an answer, so that token is left out of the row.
        tree.ids.extend(answer[:-1])
        tree.depths.extend(range(len(example), len(example) + len(answer) - 1))
        tree.pieces.extend([_EXAMPLE + 1 + number] * (len(answer) - 1))
        before = [len(example) - 1, *range(start, start + len(answer) - 1)]
        tree.targets.extend((place, token, number) for place, token in zip(before, answer, strict=True))
    return tree


def _ordinary(pairs: list[tuple[list[int], list[list[int]]]]) -> PackedBatch:
    """Return one row per prompt with its answer, or its answers of one token; an answer's last token is left out."""
    length = max(len(prompt) + len(answers[0]) - 1 for prompt, answers in pairs)
    input_ids = torch.zeros(len(pairs), length, dtype=torch.long)
    mask = torch.zeros(len(pairs), length, dtype=torch.long)
    places, owners = [], itertools.count()
    for row, (prompt, answers) in enumerate(pairs):
        ids = [*prompt, *answers[0][:-1]]
        input_ids[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
        for answer, owner in zip(answers, owners, strict=False):
            places += [(row, len(prompt) - 1 + offset, target, owner) for offset, target in enumerate(answer)]
    row_of, column_of, targets, owners = torch.tensor(places, dtype=torch.long).unbind(dim=1)
    return PackedBatch(input_ids, None, mask, (), row_of, column_of, targets, owners)


def chunks(indices: Sequence[int], size: int) -> Iterable[Sequence[int]]:
    """Yield `indices` in consecutive chunks of at most `size`."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
