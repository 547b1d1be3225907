"""Exact words of 30 bases that sequences share on either strand: overlapping windows and copied pieces.

No two of 10^8 places in random DNA share such a word. A sequence and its reverse complement are the same molecule, so
that a word and its reverse complement are one.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from dnatune.data.sequences import UNKNOWN, base_codes, blocks, word_numbers

#: Length of the words.
K = 30


def shared_words(*parts: Sequence[str]) -> list[sparse.csr_array]:
    """Return which words of 30 bases the sequences of each part have, of those that at least two sequences have.

    Args:
        parts: lists of sequences.

    Returns:
        One matrix of ones per part [sequences, words], int32; the columns mean the same in all.
    """
    found = [_words(part) for part in parts]
    firsts = np.cumsum([0, *(len(part) for part in parts)])
    owners = np.concatenate([first + own for first, (own, _) in zip(firsts, found, strict=False)])
    numbers = np.concatenate([own for _, own in found])
    order = np.lexsort((owners, numbers))
    owners, numbers = owners[order], numbers[order]
    # Each word of a sequence counts once.
    once = np.ones(len(numbers), bool)
    once[1:] = (numbers[1:] != numbers[:-1]) | (owners[1:] != owners[:-1])
    _, columns, sizes = np.unique(numbers[once], return_inverse=True, return_counts=True)
    several = sizes >= 2
    kept = several[columns]
    places = owners[once][kept], (np.cumsum(several) - 1)[columns[kept]]
    shape = int(firsts[-1]), int(several.sum())
    whole = sparse.csr_array((np.ones(len(places[0]), np.int32), places), shape=shape)
    return [whole[start:end] for start, end in itertools.pairwise(firsts)]


def rows_sharing(asked: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Return the indices of the asked sequences that share a word with a known one, ascending."""
    own, others = shared_words(asked, known)
    return np.flatnonzero(own @ (others.sum(axis=0) > 0).astype(np.int32))


def _words(sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the owner and the number of every word, the smaller of both strands' [words of all], int64."""
    owners, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for block in blocks(sequences):
        # No word reaches over the N between two sequences.
        codes = base_codes("".join(f"{sequences[i]}N" for i in block))
        places = np.repeat(block, [len(sequences[i]) + 1 for i in block])
        forward, known = word_numbers(codes, K)
        reverse, _ = word_numbers(np.where(codes < UNKNOWN, 3 - codes, UNKNOWN)[::-1], K)
        owners.append(places[: len(forward)][known])
        numbers.append(np.minimum(forward, reverse[::-1])[known])
    return np.concatenate(owners), np.concatenate(numbers)
