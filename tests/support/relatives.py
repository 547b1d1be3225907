"""Which sequences are relatives, by the definitions, the slow way."""

import functools

OTHER = str.maketrans("ACGT", "TGCA")


@functools.lru_cache(maxsize=10_000)
def words(sequence, k):
    parts = [sequence[i : i + k] for i in range(len(sequence) - k + 1)]
    return {min(part, part.translate(OTHER)[::-1]) for part in parts if "N" not in part}


def related(one, other):
    """Whether two sequences are relatives, by the definitions, the slow way."""
    if other in (one, one.translate(OTHER)[::-1]) or words(one, 30) & words(other, 30):
        return True
    a, b = words(one, 12), words(other, 12)
    if a and b and len(a & b) / len(a | b) >= 0.5:
        return True
    if len(one) != len(other):
        return False
    pieces = sum(one[i : i + 12] == other[i : i + 12] and "N" not in one[i : i + 12] for i in range(len(one) - 11))
    return pieces >= 3 and sum(map(str.__eq__, one, other)) / len(one) >= 0.4
