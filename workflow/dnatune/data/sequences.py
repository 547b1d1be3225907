"""DNA as text and as numbers: base codes, GC content, the other strand, words of k bases."""

from collections.abc import Sequence

import numpy as np

#: The bases in the order of their codes; the code of a base's complement is 3 minus its own.
BASES = "ACGT"
_ALPHABET = f"{BASES}N"
#: Code of N and of every other letter.
UNKNOWN = 4
_CODES = np.full(256, UNKNOWN, np.uint8)
_CODES[np.frombuffer(BASES.encode(), np.uint8)] = range(4)
#: Bases that are looked through at a time, some 50 bytes each.
_BLOCK = 1 << 20
#: Letters of the IUPAC alphabet of DNA for two or three bases.
_AMBIGUOUS = str.maketrans(dict.fromkeys("RYSWKMBDHV", "N"))
_COMPLEMENT = str.maketrans(BASES, BASES[::-1])


def base_codes(sequence: str) -> np.ndarray:
    """Return 0 to 3 for A, C, G and T in upper case and `UNKNOWN` for every other letter, uint8 [length]."""
    return _CODES[np.frombuffer(sequence.encode("ascii", "replace"), np.uint8)]


def sequence_of(codes: np.ndarray) -> str:
    """Return the sequence whose base codes, all of them 0 to 3, these are."""
    return np.frombuffer(BASES.encode(), np.uint8)[codes].tobytes().decode()


def gc_content(sequence: str) -> float:
    """Return the share of G and C among the A, C, G and T of a sequence; 0 where there are none.

    An N may be any base. It says nothing about the composition, so it counts neither above nor below the line.
    """
    strong = sequence.count("G") + sequence.count("C")
    known = strong + sequence.count("A") + sequence.count("T")
    return strong / known if known else 0.0


def normalised(sequence: str) -> str:
    """Return DNA as it is trained on and predicted: in upper case, with N for a letter that stands for several bases.

    Letters outside the IUPAC alphabet of DNA stay, see `foreign_letters`.
    """
    upper = sequence.upper()
    return upper.translate(_AMBIGUOUS) if upper.strip(_ALPHABET) else upper


def foreign_letters(sequence: str) -> list[str]:
    """Return the letters of a normalised sequence that are neither a base nor N, in alphabetical order."""
    # A sequence without foreign letters is stripped to nothing: faster than a set of its letters.
    return sorted(set(sequence) - set(_ALPHABET)) if sequence.strip(_ALPHABET) else []


def reverse_complement(sequence: str) -> str:
    """Return the other strand, read in its own direction; an N stays one."""
    return sequence.translate(_COMPLEMENT)[::-1]


def word_numbers(codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the number, in base 4, of the word of k bases at each place, and whether all of its bases are known.

    Args:
        codes: base codes [..., length].
        k: length of the words, at most 31.

    Returns:
        Numbers, int64, and truth values, both [..., max(0, length - k + 1)]. Where a base is unknown the number has no
        meaning.
    """
    shape = (*codes.shape[:-1], max(0, codes.shape[-1] - k + 1))
    numbers, known = np.zeros(shape, np.int64), np.ones(shape, bool)
    for start in range(k):
        column = codes[..., start : start + shape[-1]]
        numbers = 4 * numbers + column
        known &= column < UNKNOWN
    return numbers, known


def blocks(sequences: Sequence[str]) -> list[np.ndarray]:
    """Return the indices of sequences in parts of about a million bases, so that memory does not grow with the data."""
    ends = np.cumsum([len(sequence) + 1 for sequence in sequences])
    return np.split(np.arange(len(sequences)), np.flatnonzero(np.diff(ends // _BLOCK)) + 1)


def word_sets(sequences: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the words of k bases that each sequence has, each once, ascending; a word and its other strand are one.

    Args:
        sequences: in upper case.
        k: length of the words, at most 15.

    Returns:
        Indices into `sequences`, ascending, and numbers of words, the smaller of both strands', int64 [words of all].
    """
    found = [np.empty(0, np.int64)]
    for block in blocks(sequences):
        # No word reaches over the N between two sequences.
        codes = base_codes("".join(f"{sequences[i]}N" for i in block))
        owners = np.repeat(block, [len(sequences[i]) + 1 for i in block])
        numbers, known = word_numbers(codes, k)
        others, _ = word_numbers(np.where(codes < UNKNOWN, 3 - codes, UNKNOWN)[::-1], k)
        # Sorting is three times as fast here as the hash table of np.unique.
        keys = np.sort((owners[: len(numbers)] * 4**k + np.minimum(numbers, others[::-1]))[known])
        found.append(keys[np.diff(keys, prepend=-1) > 0])
    return np.divmod(np.concatenate(found), 4**k)
