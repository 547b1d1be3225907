"""Split all rows of a data set again, so that no relatives stand in different splits."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from dnatune.contracts import Record
from dnatune.data import near_copies
from dnatune.data.positional_twins import twin_pairs
from dnatune.data.records import Split
from dnatune.data.sequences import reverse_complement
from dnatune.data.shared_words import shared_words
from dnatune.errors import DataError

#: A split that gets a smaller part than this of its former rows is refused.
_LEAST_PART = 0.8


class Resplit(Record):
    """How the rows of a data set were split again."""

    clusters: int
    """Clusters of relatives; a row without any is a cluster of its own."""
    largest: int
    """Rows of the largest cluster."""
    rows: dict[str, int]
    """Number of prepared rows by split."""
    moved: dict[str, int]
    """By split, prepared rows that came in another split."""


def resplit(splits: Mapping[str, Split], similarity: float, task: str) -> tuple[dict[str, Split], Resplit]:
    """Return train, dev and test of about the same sizes such that no cluster of relatives spans two of them.

    The clusters are shuffled with a fixed seed. Test takes them in turn as long as they fit into its former size, then
    dev; the others are training. So the same data always give the same splits, and a large cluster is in training.
    The rows of a split keep their order: those that came in train first, then dev, then test.

    Args:
        splits: train, dev and test by name.
        similarity: see `clusters_of`.
        task: for the message.

    Raises:
        DataError: a split would lose more than a fifth of its rows, or nearly all rows are relatives.
    """
    names = ("train", "dev", "test")
    sequences = [sequence for name in names for sequence in splits[name].sequences]
    labels = [label for name in names for label in splits[name].labels]
    came = np.repeat(np.arange(3), [len(splits[name]) for name in names])
    clusters = clusters_of(sequences, similarity)
    sizes = np.bincount(clusters)
    place = np.zeros(len(sizes), int)
    order = np.random.default_rng(0).permutation(len(sizes))
    for number in (2, 1):
        room = len(splits[names[number]])
        for cluster in order:
            if place[cluster] == 0 and sizes[cluster] <= room:
                place[cluster] = number
                room -= sizes[cluster]
    goes = place[clusters]
    rows = {name: np.flatnonzero(goes == number) for number, name in enumerate(names)}
    for name in names:
        if len(rows[name]) < _LEAST_PART * len(splits[name]):
            raise DataError(
                f"{name} would have {len(rows[name])} in place of {len(splits[name])} rows: the largest of"
                f" {len(sizes)} clusters of relatives has {sizes.max()} of {len(sequences)} rows",
                where=f"task {task}, audit.on_leak: resplit",
                fix="take relatives out of training: audit.on_leak: drop; or only report: audit.on_leak: report",
            )
    whole = Split(splits["train"].instruction, sequences, labels)
    return {name: whole.subset(rows[name].tolist()) for name in names}, Resplit(
        clusters=len(sizes),
        largest=int(sizes.max()),
        rows={name: len(rows[name]) for name in names},
        moved={name: int((came[rows[name]] != number).sum()) for number, name in enumerate(names)},
    )


def clusters_of(sequences: Sequence[str], similarity: float) -> np.ndarray:
    """Return the cluster of relatives that each sequence belongs to, numbered by first appearance [n].

    Relatives are copies and near-copies on either strand, positional twins, and sequences that share an exact word of
    30 bases on either strand. Relatives of relatives are in one cluster.

    Args:
        sequences: of all splits.
        similarity: least Jaccard index of the sets of 12-base words of near-copies.

    Raises:
        DataError: the sequences are variants of one another as a whole.
    """
    distinct = list(dict.fromkeys(sequences))
    numbers = {sequence: number for number, sequence in enumerate(distinct)}
    count = len(distinct)
    twins = twin_pairs(distinct, distinct, distinct)
    words = near_copies.words(distinct)
    reverse = [(number, numbers.get(reverse_complement(one), number)) for number, one in enumerate(distinct)]
    pairs = [(twins.asked, twins.known), tuple(np.array(reverse).T)]
    if reason := near_copies.why_not(words, words):
        raise DataError(reason, where="audit.on_leak: resplit", fix="only report what is shared: audit.on_leak: report")
    pairs.append(near_copies.near_copies(words, words, similarity))
    first, second = map(np.concatenate, zip(*pairs, strict=True))
    # A shared word is a node of its own, linked with the sequences that have it.
    (holders,) = shared_words(distinct)
    holders = holders.tocoo()
    ends = np.concatenate([first, holders.row]), np.concatenate([second, count + holders.col])
    nodes = count + holders.shape[1]
    graph = sparse.csr_array((np.ones(len(ends[0]), bool), ends), shape=(nodes, nodes))
    _, found = csgraph.connected_components(graph, directed=False)
    _, firsts, members = np.unique(found[:count], return_index=True, return_inverse=True)
    clusters = np.argsort(np.argsort(firsts))[members]
    return clusters[[numbers[sequence] for sequence in sequences]]
