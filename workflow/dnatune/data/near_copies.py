"""Sequences that share most of their 12-base words, on either strand."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from dnatune.data.sequences import word_sets

#: Length of the words by which sequences are compared: of 16.8 million, two sequences hardly share one by chance.
K = 12
#: Pairs of equal words that a comparison may take; more, and the sequences are variants of one another as a whole.
MOST_PAIRS = 2e10
_CHUNK = 512


def words(sequences: Sequence[str]) -> sparse.csr_array:
    """Return which words each sequence has: a row a sequence, a column a word; a word and its other strand are one."""
    owners, numbers = word_sets(sequences, K)
    starts = np.searchsorted(owners, np.arange(len(sequences) + 1))
    return sparse.csr_array((np.ones(len(numbers), np.int32), numbers, starts), shape=(len(sequences), 4**K))


def why_not(first: sparse.csr_array, second: sparse.csr_array) -> str | None:
    """Return why two sets of sequences cannot be compared; None if they can.

    Args:
        first, second: what `words` returns.
    """
    # Of the words that occur only: a place for each possible one takes seconds where memory is slow.
    (words, counts), (others, theirs) = (np.unique(one.indices, return_counts=True) for one in (first, second))
    _, own, their = np.intersect1d(words, others, assume_unique=True, return_indices=True)
    pairs = counts[own].astype(float) @ theirs[their].astype(float)
    if pairs <= MOST_PAIRS:
        return None
    return (
        f"the sequences are variants of one another as a whole: they share words {pairs:.1e} times, and more than "
        f"{MOST_PAIRS:.0e} are not compared"
    )


def near_copies(first: sparse.csr_array, second: sparse.csr_array, similarity: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of near-copies as rows of the first and of the second, int64 [pairs] each.

    Args:
        first, second: what `words` returns.
        similarity: least Jaccard index of their sets of words.
    """
    sizes, others, transposed = np.diff(first.indptr), np.diff(second.indptr), second.T.tocsr()
    found = [np.empty((2, 0), np.int64)]
    for start in range(0, first.shape[0], _CHUNK):
        shared = (first[start : start + _CHUNK] @ transposed).tocoo()
        union = sizes[start + shared.row] + others[shared.col] - shared.data
        near = shared.data >= similarity * union
        found.append(np.stack([start + shared.row[near].astype(np.int64), shared.col[near].astype(np.int64)]))
    rows, columns = np.concatenate(found, axis=1)
    return rows, columns
