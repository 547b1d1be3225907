"""What the splits of a data set share, and what to do about it.

Scores of test items that a model was trained on, or of near-copies of them, say little about it. Copies may be taken
out of the splits that are trained and chosen on, or the rows may be split again so that no relatives are apart.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np

from dnatune.contracts import Record
from dnatune.data import near_copies
from dnatune.data.positional_twins import Twins, distinct, rows_with_twins, too_many, twins
from dnatune.data.records import FIRST_LINE, Split
from dnatune.data.resplit import Resplit, resplit
from dnatune.data.sequences import reverse_complement
from dnatune.data.shared_words import rows_sharing
from dnatune.errors import DataError
from dnatune.settings.tasks import Task

#: A split is compared with those that a model has seen before it is scored on the split.
EARLIER = {"dev": ("train",), "test": ("train", "dev")}
#: Kinds of relatives besides copies and near-copies.
Relative = Literal["twins", "shared_words"]


class Relatives(Record):
    """Rows of a split that have relatives in an earlier split."""

    copies: list[int]
    """Rows whose sequence the earlier split has."""
    reverse_complements: list[int]
    """Rows whose reverse complement the earlier split has."""
    near_copies: list[int] | None
    """Rows that have a near-copy in the earlier split, copies included; `null` if near-copies were not looked for."""
    twins: list[int] | None
    """Rows with a positional twin in the earlier split: a different sequence that shares at least three 12-base words
    and 40 % of the bases in place; `null` if there are too many bases to look."""
    shared_words: list[int] | None
    """Rows that share an exact word of 30 bases with the earlier split, on either strand; `null` like `twins`."""

    def rows(self, kinds: Collection[Relative]) -> set[int]:
        """Return the rows with a copy, of either strand, or a near-copy, or a relative of one of some kinds."""
        found = {*self.copies, *self.reverse_complements, *(self.near_copies or ())}
        return found.union(*(getattr(self, kind) or () for kind in kinds))


class Overlap(Record):
    """What the splits share as they came."""

    rows: dict[str, int]
    """Number of rows by split."""
    repeats: dict[str, int]
    """By split, rows that repeat the sequence of an earlier row of it."""
    contradicting: int
    """Sequences that stand with more than one label, over all splits."""
    shared: dict[str, dict[str, Relatives]]
    """By split and earlier split, the rows of the split that the earlier one has too, as row numbers."""
    similarity: float
    """Least Jaccard index of the sets of 12-base words, either strand's, that makes a near-copy."""
    near_copies_withheld: str | None
    """Why near-copies were not looked for; `null` if they were."""
    twins: Twins
    """Pairs of a test row and a positional twin in training."""

    def leaked_rows(self, split: str, kinds: Collection[Relative] = ()) -> list[int]:
        """Return the rows of a split that `Relatives.rows` finds in an earlier split."""
        return sorted(set().union(*(found.rows(kinds) for found in self.shared[split].values())))


class Audit(Overlap):
    """audit.json: what the splits share, and what was done about it."""

    on_leak: Literal["report", "drop", "resplit", "fail"]
    """As configured."""
    relatives: list[Relative]
    """As configured: what counts as a leak besides copies and near-copies."""
    dropped: dict[str, int]
    """By split, rows that were taken out because a later split has a relative."""
    resplit: Resplit | None
    """How the rows were split again; `null` unless `on_leak` is `resplit`."""
    leaked: dict[str, list[int]]
    """By split, prepared rows of which an earlier split still has a copy or near-copy."""
    related: dict[Relative, list[int] | None]
    """By kind, rows of the prepared test split that have such a relative in the prepared training split; `null` if
    there are too many bases to look."""
    classes: dict[str, dict[str, int]]
    """By split and label word, the number of prepared rows; 0 for a class that the split lacks."""

    @property
    def related_share(self) -> float:
        """Return the share of the prepared test items that have a twin in training or share a word with it."""
        rows = set().union(*(rows or () for rows in self.related.values()))
        return len(rows) / sum(self.classes["test"].values())


def examine(splits: Mapping[str, Split], similarity: float) -> Overlap:
    """Return what the splits share as they came.

    Args:
        splits: train, dev and test by name.
        similarity: a sequence is a near-copy of another where their sets of 12-base words, either strand's, have at
            least this Jaccard index. One base changed in the middle of 70 leaves 0.66; half of such a sequence, 0.3.
    """
    sequences = {name: split.sequences for name, split in splits.items()}
    labels = defaultdict(set)
    for split in splits.values():
        for sequence, label in zip(split.sequences, split.labels, strict=True):
            labels[sequence].add(label)
    words = {split: near_copies.words(found) for split, found in sequences.items()}
    pairs = [(split, other) for split, others in EARLIER.items() for other in others]
    reasons = {pair: near_copies.why_not(*(words[split] for split in pair)) for pair in pairs}
    counted = None if too_many(*sequences.values()) else distinct(splits.values())
    shared: dict[str, dict[str, Relatives]] = {split: {} for split in EARLIER}
    for split, other in pairs:
        own, earlier = sequences[split], sequences[other]
        near = near_copies.near_copies(words[split], words[other], similarity)[0] if not reasons[split, other] else None
        shared[split][other] = Relatives(
            **_copies(own, earlier),
            near_copies=None if near is None else np.unique(near).tolist(),
            twins=None if counted is None else rows_with_twins(own, earlier, counted).tolist(),
            shared_words=None if counted is None else rows_sharing(own, earlier).tolist(),
        )
    return Overlap(
        rows={name: len(split) for name, split in splits.items()},
        repeats={split: len(found) - len(set(found)) for split, found in sequences.items()},
        contradicting=sum(len(found) > 1 for found in labels.values()),
        shared=shared,
        similarity=similarity,
        near_copies_withheld=next((reason for reason in reasons.values() if reason), None),
        twins=twins(splits),
    )


def _copies(sequences: Sequence[str], earlier: Sequence[str]) -> dict[str, list[int]]:
    known = set(earlier)
    strands = {"copies": sequences, "reverse_complements": [reverse_complement(sequence) for sequence in sequences]}
    return {kind: [row for row, one in enumerate(found) if one in known] for kind, found in strands.items()}


def apply(
    on_leak: str, similarity: float, splits: Mapping[str, Split], task: Task, relatives: Sequence[Relative] = ()
) -> tuple[Mapping[str, Split], Audit]:
    """Return the splits to prepare, and audit.json.

    Args:
        on_leak: `report` changes nothing; `drop` takes train and dev rows out of which a later split has a copy or
            near-copy; `resplit` splits all rows again; `fail` stops if there are copies or near-copies.
        similarity: as `examine` takes it.
        splits: train, dev and test by name.
        task: for its labels, and the message.
        relatives: what `drop` and `fail` take for a leak besides copies and near-copies.

    Raises:
        DataError: there are copies and they shall not be; nothing is left of a split; or it cannot be looked for
            relatives.
    """
    overlap = examine(splits, similarity)
    if relatives and on_leak in ("drop", "fail"):
        _refuse_too_many(splits, task.name)
    kept, dropped, again = splits, {"train": 0, "dev": 0}, None
    left = {split: overlap.leaked_rows(split) for split in EARLIER}
    if on_leak == "fail":
        _refuse_copies(overlap, task.name, relatives)
    if on_leak == "drop":
        kept = without_relatives(splits, similarity, relatives)
        dropped = {split: len(splits[split]) - len(kept[split]) for split in dropped}
        _refuse_empty(kept, task.name)
    if on_leak == "resplit":
        _refuse_too_many(splits, task.name)
        kept, again = resplit(splits, similarity, task.name)
    if on_leak in ("drop", "resplit"):
        left = {split: [] for split in EARLIER}
    return kept, Audit(
        **dict(overlap),
        on_leak=on_leak,
        relatives=list(relatives),
        dropped=dropped,
        resplit=again,
        leaked=left,
        related=_related(splits, kept),
        classes={name: _class_counts(split, task.labels) for name, split in kept.items()},
    )


def _related(splits: Mapping[str, Split], kept: Mapping[str, Split]) -> dict[Relative, list[int] | None]:
    """Return the prepared test rows with a relative in the prepared training split, by kind."""
    if too_many(*(split.sequences for split in splits.values())):
        return {"twins": None, "shared_words": None}
    test, train = kept["test"].sequences, kept["train"].sequences
    return {
        "twins": rows_with_twins(test, train, distinct(splits.values())).tolist(),
        "shared_words": rows_sharing(test, train).tolist(),
    }


def _class_counts(split: Split, labels: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(split.labels, minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _refuse_empty(kept: Mapping[str, Split], task: str) -> None:
    for split in ("train", "dev"):
        if not kept[split]:
            raise DataError(
                f"every row of {split} is in a later split, or nearly",
                where=f"task {task}, audit.on_leak: drop",
                fix="use another split, or only report: audit.on_leak: report",
            )


def _refuse_too_many(splits: Mapping[str, Split], task: str) -> None:
    if too_many(*(split.sequences for split in splits.values())):
        raise DataError(
            "there are too many bases to look for twins and shared words",
            where=f"task {task}, audit.on_leak and audit.relatives",
            fix="only report: audit.on_leak: report; or drop copies alone: audit.relatives: []",
        )


def _refuse_copies(overlap: Overlap, task: str, relatives: Collection[Relative]) -> None:
    """Stop where a dev or test item is, or is nearly, in an earlier split.

    Raises:
        DataError: how many, with the first lines.
    """
    found = {split: overlap.leaked_rows(split, relatives) for split in EARLIER}
    if not any(found.values()):
        return
    said = "; ".join(
        f"{len(rows)} of {overlap.rows[split]} {split} items, the first in line {rows[0] + FIRST_LINE} of its file"
        for split, rows in found.items()
        if rows
    )
    raise DataError(
        f"items that are, or nearly are, in a split that is trained or chosen on: {said}",
        where=f"task {task}, audit.on_leak: fail",
        fix="take them out of the earlier split: audit.on_leak: drop; or only report them: audit.on_leak: report",
    )


def without_relatives(
    splits: Mapping[str, Split], similarity: float, relatives: Collection[Relative] = ()
) -> dict[str, Split]:
    """Return the splits without those train and dev rows of which a later split has a relative.

    The test split stays as it is, so that scores stay comparable.

    Args:
        splits, similarity: as `examine` takes them.
        relatives: kinds besides copies and near-copies.
    """
    kept, counted = dict(splits), distinct(splits.values())
    for split, others in EARLIER.items():
        for other in others:
            earlier = kept[other].sequences
            out = rows_with_relatives(earlier, splits[split].sequences, counted, similarity, relatives)
            kept[other] = kept[other].subset([row for row in range(len(earlier)) if row not in out])
    return kept


def rows_with_relatives(
    sequences: Sequence[str],
    known: Sequence[str],
    counted: Sequence[str],
    similarity: float,
    relatives: Collection[Relative],
) -> set[int]:
    """Return the indices of sequences that have a copy, of either strand, or another relative among known ones.

    Args:
        sequences, known: the two sets.
        counted: as `twin_pairs` takes it.
        similarity: as `examine` takes it; near-copies of too many variants are not looked for.
        relatives: kinds besides copies and near-copies.
    """
    found = _copies(sequences, known)
    out = {*found["copies"], *found["reverse_complements"]}
    words = [near_copies.words(part) for part in (sequences, known)]
    if near_copies.why_not(*words) is None:
        out.update(near_copies.near_copies(*words, similarity)[0].tolist())
    if "twins" in relatives:
        out.update(rows_with_twins(sequences, known, counted).tolist())
    if "shared_words" in relatives:
        out.update(rows_sharing(sequences, known).tolist())
    return out
