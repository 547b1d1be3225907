"""Sequences that share pieces in place: what is left when a negative is made by replacing segments of a positive.

Negatives of promoter sets are made so (Oubounyt et al. 2019, DeePromoter, Front Genet 10:286: 8 of 20 segments stay).
Such a twin says of a test item, once it has been seen with its label, which label to expect: mostly the other one.
"""

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from dnatune.contracts import Record
from dnatune.data.records import Split
from dnatune.data.sequences import base_codes, word_numbers

#: Length of the words, and how many of them at the same places make two sequences candidates.
K, FEWEST_SHARED = 12, 3
#: Twins have at least this share of their bases in common, place by place; unrelated sequences have .25 to .3.
LEAST_IDENTITY = 0.4
#: A word that more sequences have at one place is a repeat, not a piece of one of them.
MOST_SHARING = 20
#: Bases of a data set that are looked through: the work is done in memory, some 80 bytes a base.
MOST_BASES = 3e7
_CHUNK = 512


class Twins(Record):
    """Test rows that have a twin in training: a different sequence that shares pieces in place."""

    rows: list[int] | None
    """Test rows with a twin; `null` like `pairs` if there are too many bases to look."""
    pairs: int | None
    """Pairs of a test row and a training sequence. One that training has with several labels counts with the first."""
    opposite: float | None
    """Share of those pairs whose labels differ; `null` without pairs."""


def twins(splits: Mapping[str, Split]) -> Twins:
    """Return which test rows have a twin in the training split.

    Twins are different sequences of one length that share at least three words of 12 bases at the same places, and at
    least 40 % of their bases: the definition of `positional_twins` in seqleak 0.4.1 (doi 10.5281/zenodo.23605245).

    Args:
        splits: train, dev and test by name.
    """
    if sum(len(sequence) for split in splits.values() for sequence in split.sequences) > MOST_BASES:
        return Twins(rows=None, pairs=None, opposite=None)
    labels: dict[str, int] = {}
    for sequence, label in zip(splits["train"].sequences, splits["train"].labels, strict=True):
        labels.setdefault(sequence, label)
    test = list(zip(splits["test"].sequences, splits["test"].labels, strict=True))
    everything = sorted({sequence for split in splits.values() for sequence in split.sequences})
    rows: list[int] = []
    pairs = opposite = 0
    for length in sorted({len(sequence) for sequence, _ in test}):
        if length <= K:
            continue
        together = [sequence for sequence in everything if len(sequence) == length]
        place = {sequence: number for number, sequence in enumerate(together)}
        bases = base_codes("".join(together)).reshape(len(together), length)
        words = _words_in_place(bases)
        train = [(place[sequence], label) for sequence, label in labels.items() if len(sequence) == length]
        asked = [(row, place[sequence], label) for row, (sequence, label) in enumerate(test) if len(sequence) == length]
        if not train:
            continue
        known, known_labels = map(np.array, zip(*train, strict=True))
        transposed = words[known].T.tocsr()
        for start in range(0, len(asked), _CHUNK):
            part = asked[start : start + _CHUNK]
            numbers, own, own_labels = map(np.array, zip(*part, strict=True))
            shared = (words[own] @ transposed).tocoo()
            enough = shared.data >= FEWEST_SHARED
            first, second = shared.row[enough], shared.col[enough]
            identity = (bases[own[first]] == bases[known[second]]).mean(axis=1) if len(first) else np.empty(0)
            found = (identity >= LEAST_IDENTITY) & (identity < 1)
            first, second = first[found], second[found]
            rows += np.unique(numbers[first]).tolist()
            pairs += len(first)
            opposite += int((own_labels[first] != known_labels[second]).sum())
    return Twins(rows=sorted(rows), pairs=pairs, opposite=opposite / pairs if pairs else None)


def _words_in_place(bases: np.ndarray) -> sparse.csr_array:
    """Return which words each sequence has at which place, repeats left out [sequences, (place, word)].

    Args:
        bases: base codes [sequences, length].
    """
    numbers, known = word_numbers(bases, K)
    keys = numbers + np.arange(numbers.shape[1]) * 4**K
    owners = np.broadcast_to(np.arange(len(bases))[:, None], keys.shape)
    _, columns, sizes = np.unique(keys[known], return_inverse=True, return_counts=True)
    pieces = (sizes[columns] >= 2) & (sizes[columns] <= MOST_SHARING)
    entries = np.ones(int(pieces.sum()), np.int32), (owners[known][pieces], columns[pieces])
    return sparse.csr_array(entries, shape=(len(bases), len(sizes)))
