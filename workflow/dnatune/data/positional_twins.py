"""Sequences that share pieces in place: what is left when a negative is made by replacing segments of a positive.

Negatives of promoter sets are made so (Oubounyt et al. 2019, DeePromoter, Front Genet 10:286: 8 of 20 segments stay).
Such a twin says of a test item, once it has been seen with its label, which label to expect: mostly the other one.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

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
    """Pairs of a test row and a twin in training: a different sequence that shares pieces in place."""

    pairs: int | None
    """Number of pairs of a test row and a training sequence; `null` if there are too many bases to look. A sequence
    that training has with several labels counts with the first."""
    opposite: float | None
    """Share of those pairs whose labels differ; `null` without pairs."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of twins.

    Attributes:
        asked: indices into the sequences that were asked about [pairs], int64.
        known: indices into those among which twins were looked for [pairs], int64.
        identity: share of the bases that the two have in common, place by place [pairs].
    """

    asked: np.ndarray
    known: np.ndarray
    identity: np.ndarray


def twins(splits: Mapping[str, Split]) -> Twins:
    """Return how many pairs of twins the test and the training split have, and how their labels go together.

    Args:
        splits: train, dev and test by name.
    """
    if too_many(*(split.sequences for split in splits.values())):
        return Twins(pairs=None, opposite=None)
    labels = first_labels(splits["train"])
    found = twin_pairs(splits["test"].sequences, list(labels), distinct(splits.values()))
    count = len(found.asked)
    differ = np.array(splits["test"].labels, int)[found.asked] != np.array(list(labels.values()), int)[found.known]
    return Twins(pairs=count, opposite=float(differ.mean()) if count else None)


def rows_with_twins(asked: Sequence[str], known: Sequence[str], counted: Sequence[str]) -> np.ndarray:
    """Return the indices of the asked sequences with a twin among the known ones, ascending; see `twin_pairs`."""
    return np.unique(twin_pairs(asked, known, counted).asked)


def distinct(splits: Iterable[Split]) -> list[str]:
    """Return the distinct sequences of some splits, in the order in which each first appears."""
    return list(dict.fromkeys(sequence for split in splits for sequence in split.sequences))


def too_many(*parts: Sequence[str]) -> bool:
    """Return whether there are too many bases to look for twins and shared words."""
    return sum(len(sequence) for part in parts for sequence in part) > MOST_BASES


def first_labels(split: Split) -> dict[str, int]:
    """Return the distinct sequences of a split, each with the label of its first row."""
    labels: dict[str, int] = {}
    for sequence, label in zip(split.sequences, split.labels, strict=True):
        labels.setdefault(sequence, label)
    return labels


def twin_pairs(asked: Sequence[str], known: Sequence[str], counted: Sequence[str]) -> Pairs:
    """Return all pairs of twins of two sets of sequences.

    Twins are different sequences of one length that share at least three words of 12 bases at the same places, and at
    least 40 % of their bases: the definition of `positional_twins` in seqleak 0.4.1 (doi 10.5281/zenodo.23605245).

    Args:
        asked, known: the two sets.
        counted: distinct sequences; a word that more than 20 of them have at one place is a repeat.
    """
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for length in sorted({len(sequence) for sequence in asked}):
        members = [np.array([i for i, one in enumerate(part) if len(one) == length]) for part in (asked, known)]
        if length <= K or not len(members[1]):
            continue
        bases = [_bases(part, numbers) for part, numbers in zip((asked, known), members, strict=True)]
        pieces = _pieces(_bases(counted, [i for i, one in enumerate(counted) if len(one) == length]))
        words, others = (_words_in_place(one, pieces) for one in bases)
        transposed = others.T.tocsr()
        for start in range(0, len(members[0]), _CHUNK):
            shared = (words[start : start + _CHUNK] @ transposed).tocoo()
            enough = shared.data >= FEWEST_SHARED
            first, second = start + shared.row[enough].astype(np.int64), shared.col[enough]
            identity = (bases[0][first] == bases[1][second]).mean(axis=1) if len(first) else np.empty(0)
            alike = (identity >= LEAST_IDENTITY) & (identity < 1)
            found.append((members[0][first[alike]], members[1][second[alike]], identity[alike]))
    return Pairs(*map(np.concatenate, zip(*found, strict=True)))


def _bases(sequences: Sequence[str], chosen: Sequence[int]) -> np.ndarray:
    """Return the base codes of sequences of one length [chosen, length]."""
    return base_codes("".join(sequences[i] for i in chosen)).reshape(len(chosen), -1)


def _keys(bases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a number for each word and its place, and whether its bases are known [sequences, places]."""
    numbers, known = word_numbers(bases, K)
    return numbers + np.arange(numbers.shape[1]) * 4**K, known


def _pieces(bases: np.ndarray) -> np.ndarray:
    """Return the words in place that are no repeats, ascending [words]."""
    keys, known = _keys(bases)
    found, sizes = np.unique(keys[known], return_counts=True)
    return found[sizes <= MOST_SHARING]


def _words_in_place(bases: np.ndarray, pieces: np.ndarray) -> sparse.csr_array:
    """Return which of the pieces each sequence has [sequences, pieces].

    Args:
        bases: base codes [sequences, length].
        pieces: words in place, ascending [words].
    """
    keys, known = _keys(bases)
    columns = np.searchsorted(pieces, keys)
    known &= pieces[np.minimum(columns, len(pieces) - 1)] == keys if len(pieces) else False
    owners = np.broadcast_to(np.arange(len(bases))[:, None], keys.shape)
    entries = np.ones(int(known.sum()), np.int32), (owners[known], columns[known])
    return sparse.csr_array(entries, shape=(len(bases), len(pieces)))
