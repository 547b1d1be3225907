"""Baselines that see the place of each base or word, which sequences cut around a landmark are told apart by."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from dnatune.data.records import Split
from dnatune.data.sequences import base_codes, word_numbers
from dnatune.evaluation.baselines import linear
from dnatune.evaluation.baselines.applicability import NotApplicable

_WORD, _WINDOW = 4, 5


def onehot(train: Split, dev: Split) -> linear.Probabilities:
    """Fit a logistic regression on which base stands at which place.

    Raises:
        NotApplicable: the sequences of training and dev are not of one length.
    """
    return _of_one_length(bases_in_place, train, dev)


def positional(train: Split, dev: Split) -> linear.Probabilities:
    """Fit a logistic regression on which word of 4 bases begins in which window of 5, and on the bases in place.

    Raises:
        NotApplicable: the sequences of training and dev are not of one length.
    """
    return _of_one_length(lambda codes: sparse.hstack([words_in_windows(codes), bases_in_place(codes)]), train, dev)


def _of_one_length(features: Callable[[np.ndarray], sparse.sparray], train: Split, dev: Split) -> linear.Probabilities:
    lengths = {len(sequence) for split in (train, dev) for sequence in split.sequences}
    if len(lengths) > 1:
        raise NotApplicable(
            f"sequences are {min(lengths)} to {max(lengths)} bases long, so a place does not mean the same in all"
        )
    (length,) = lengths

    def of_sequences(sequences: Sequence[str]) -> sparse.csr_array:
        # A sequence of the test split may still be longer or shorter.
        cut = "".join(sequence[:length].ljust(length, "N") for sequence in sequences)
        return features(base_codes(cut).reshape(len(sequences), length)).tocsr()

    return linear.classifier(of_sequences, train, dev)


def bases_in_place(codes: np.ndarray) -> sparse.csr_array:
    """Return 1 for the base that stands at a place [n, length × 4], float32; an unknown base has none.

    Args:
        codes: base codes [n, length].
    """
    return _ones(codes, codes < 4, 4)


def words_in_windows(codes: np.ndarray) -> sparse.csr_array:
    """Return how often each word of 4 bases begins in each window of 5 [n, windows × 256], float32.

    Args:
        codes: base codes [n, length].
    """
    numbers, known = word_numbers(codes, _WORD)
    return _ones(numbers, known, 4**_WORD, _WINDOW)


def _ones(numbers: np.ndarray, known: np.ndarray, kinds: int, window: int = 1) -> sparse.csr_array:
    """Return the counts of the known numbers 0 to kinds − 1 in each window of places [n, windows × kinds]."""
    windows = np.arange(numbers.shape[1]) // window
    columns = (windows * kinds + numbers)[known]
    rows = np.broadcast_to(np.arange(len(numbers))[:, None], numbers.shape)[known]
    shape = (len(numbers), kinds * (int(windows.max(initial=-1)) + 1))
    counts = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    counts.sum_duplicates()
    return counts
