"""What the splits of a data set share: copies, copies on the other strand, near-copies, contradicting labels.

A test item that was trained on says little about a model. `examine` finds such items, `without_copies` takes them out
of the splits that are trained and chosen on; a test split is never changed.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import sparse

from dnatune.contracts import Record
from dnatune.data.positional_twins import Twins, twins
from dnatune.data.records import FIRST_LINE, Split
from dnatune.data.sequences import reverse_complement, word_sets
from dnatune.errors import DataError
from dnatune.settings.tasks import Task

#: Length of the words by which sequences are compared: of 16.8 million, two sequences hardly share one by chance.
K = 12
#: Pairs of equal words that a comparison may take; more, and the sequences are variants of one another as a whole.
MOST_PAIRS = 2e10
#: A split is compared with those that a model has seen before it is scored on the split.
EARLIER = {"dev": ("train",), "test": ("train", "dev")}
_CHUNK = 512


class Copies(Record):
    """Rows of a split that an earlier split has too."""

    copies: list[int]
    """Rows whose sequence the earlier split has."""
    reverse_complements: list[int]
    """Rows whose reverse complement the earlier split has."""
    near_copies: list[int] | None
    """Rows that have a near-copy in the earlier split, copies included; `null` if near-copies were not looked for."""


class Overlap(Record):
    """What the splits share as they came."""

    rows: dict[str, int]
    """Number of rows by split."""
    repeats: dict[str, int]
    """By split, rows that repeat the sequence of an earlier row of it."""
    contradicting: int
    """Sequences that stand with more than one label, over all splits."""
    shared: dict[str, dict[str, Copies]]
    """By split and earlier split, the rows of the split that the earlier one has too, as row numbers."""
    similarity: float
    """Least Jaccard index of the sets of 12-base words, either strand's, that makes a near-copy."""
    near_copies_withheld: str | None
    """Why near-copies were not looked for; `null` if they were."""
    twins: Twins
    """Test rows with a positional twin in training, which shares at least three 12-base words and 40 % of the bases."""

    def leaked_rows(self, split: str) -> list[int]:
        """Return the rows of a split of which a copy, either strand's, or a near-copy is in an earlier split."""
        found: set[int] = set()
        for kinds in self.shared[split].values():
            found.update(kinds.copies, kinds.reverse_complements, kinds.near_copies or ())
        return sorted(found)


class Audit(Overlap):
    """audit.json: what the splits share, and what was done about it."""

    on_leak: Literal["report", "drop", "fail"]
    """As configured."""
    dropped: dict[str, int]
    """By split, rows that were taken out because a later split has a copy or near-copy."""
    leaked: dict[str, list[int]]
    """By split, prepared rows of which an earlier split still has a copy or near-copy."""
    classes: dict[str, dict[str, int]]
    """By split and label word, the number of prepared rows; 0 for a class that the split lacks."""


def examine(splits: Mapping[str, Split], similarity: float) -> Overlap:
    """Return what the splits share as they came.

    Args:
        splits: train, dev and test by name.
        similarity: a sequence is a near-copy of another where their sets of 12-base words, either strand's, have at
            least this Jaccard index. One base changed in the middle of 70 leaves 0.66; half of such a sequence, 0.3.
    """
    sequences = {name: split.sequences for name, split in splits.items()}
    sets = {split: set(found) for split, found in sequences.items()}
    labels = defaultdict(set)
    for split in splits.values():
        for sequence, label in zip(split.sequences, split.labels, strict=True):
            labels[sequence].add(label)
    words = {split: _words(found) for split, found in sequences.items()}
    shared: dict[str, dict[str, Copies]] = {split: {} for split in EARLIER}
    withheld = None
    for split, others in EARLIER.items():
        reverse = [reverse_complement(sequence) for sequence in sequences[split]]
        for other in others:
            near, reason = _near_copies(words[split], words[other], similarity)
            withheld = withheld or reason
            shared[split][other] = Copies(
                copies=_ids(sequence in sets[other] for sequence in sequences[split]),
                reverse_complements=_ids(sequence in sets[other] for sequence in reverse),
                near_copies=None if near is None else near.tolist(),
            )
    return Overlap(
        rows={name: len(split) for name, split in splits.items()},
        repeats={split: len(found) - len(sets[split]) for split, found in sequences.items()},
        contradicting=sum(len(found) > 1 for found in labels.values()),
        shared=shared,
        similarity=similarity,
        near_copies_withheld=withheld,
        twins=twins(splits),
    )


def apply(
    on_leak: str, similarity: float, splits: Mapping[str, Split], task: Task
) -> tuple[Mapping[str, Split], Audit]:
    """Return the splits to prepare, and audit.json.

    Args:
        on_leak: `report` changes nothing; `drop` takes train and dev rows out of which a later split has a copy or
            near-copy; `fail` stops there.
        similarity: as `examine` takes it.
        splits: train, dev and test by name.
        task: for its labels, and the message.

    Raises:
        DataError: there are copies and they shall not be; or nothing is left of a split.
    """
    overlap = examine(splits, similarity)
    kept, dropped = splits, {"train": 0, "dev": 0}
    if on_leak == "fail":
        _refuse_copies(overlap, task.name)
    left = {split: overlap.leaked_rows(split) for split in EARLIER}
    if on_leak == "drop":
        kept = without_copies(splits, similarity)
        dropped = {split: len(splits[split]) - len(kept[split]) for split in dropped}
        for split in dropped:
            if not kept[split]:
                raise DataError(
                    f"every row of {split} is in a later split, or nearly",
                    where=f"task {task.name}, audit.on_leak: drop",
                    fix="use another split, or only report: audit.on_leak: report",
                )
        left = {split: [] for split in EARLIER}
    classes = {name: _class_counts(split, task.labels) for name, split in kept.items()}
    return kept, Audit(**dict(overlap), on_leak=on_leak, dropped=dropped, leaked=left, classes=classes)


def _class_counts(split: Split, labels: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(split.labels, minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _refuse_copies(overlap: Overlap, task: str) -> None:
    """Stop where a dev or test item is, or is nearly, in an earlier split.

    Raises:
        DataError: how many, with the first lines.
    """
    found = {split: overlap.leaked_rows(split) for split in EARLIER}
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


def without_copies(splits: Mapping[str, Split], similarity: float) -> dict[str, Split]:
    """Return the splits without those train and dev rows of which a later split has a copy or near-copy.

    The test split stays as it is, so that scores stay comparable.

    Args:
        splits, similarity: as `examine` takes them.
    """
    kept = dict(splits)
    for split in EARLIER:
        later = splits[split].sequences
        for other in EARLIER[split]:
            same = {sequence for one in later for sequence in (one, reverse_complement(one))}
            earlier = kept[other]
            alike = _near_copies(_words(earlier.sequences), _words(later), similarity)[0]
            out = set() if alike is None else set(alike.tolist())
            out.update(_ids(sequence in same for sequence in earlier.sequences))
            kept[other] = earlier.subset([row for row in range(len(earlier)) if row not in out])
    return kept


def _ids(hits) -> list[int]:
    return [number for number, hit in enumerate(hits) if hit]


def _words(sequences: Sequence[str]) -> sparse.csr_array:
    """Return which words each sequence has: a row a sequence, a column a word; a word and its other strand are one."""
    owners, words = word_sets(sequences, K)
    starts = np.searchsorted(owners, np.arange(len(sequences) + 1))
    return sparse.csr_array((np.ones(len(words), np.int32), words, starts), shape=(len(sequences), 4**K))


def _near_copies(
    first: sparse.csr_array, second: sparse.csr_array, similarity: float
) -> tuple[np.ndarray | None, str | None]:
    """Return the rows of `first` that have a near-copy in `second`; or None, and why that was not looked for."""
    counts = [np.bincount(one.indices, minlength=4**K).astype(float) for one in (first, second)]
    pairs = counts[0] @ counts[1]
    if pairs > MOST_PAIRS:
        return None, (
            f"the sequences are variants of one another as a whole: they share words {pairs:.1e} times, and more than "
            f"{MOST_PAIRS:.0e} are not compared"
        )
    sizes, others, transposed = np.diff(first.indptr), np.diff(second.indptr), second.T.tocsr()
    found = []
    for start in range(0, first.shape[0], _CHUNK):
        shared = (first[start : start + _CHUNK] @ transposed).tocoo()
        union = sizes[start + shared.row] + others[shared.col] - shared.data
        found.append(start + np.unique(shared.row[shared.data >= similarity * union]))
    return np.concatenate([np.empty(0, np.int64), *found]), None
