"""Which test items are not independent: copies and other relatives, within a task and across tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from dnatune.data.leakage import Audit
from dnatune.data.records import read_split
from dnatune.data.resplit import clusters_of
from dnatune.data.sequences import reverse_complement
from dnatune.errors import DataError
from dnatune.settings.tasks import Task


def read_clusters(
    paths: Sequence[Path], tasks: Mapping[str, Task], audits: Mapping[str, Audit]
) -> dict[str, np.ndarray]:
    """Return, by task, the cluster of each test item; a cluster has one number in all tasks.

    Args:
        paths: test.jsonl, one a task, in their order.
        tasks: the tasks by name.
        audits: audit.json by task, for the similarity of near-copies.

    Raises:
        DataError: a file is missing or no records.
    """
    sequences = {
        task.name: read_split(path, task.labels).sequences for path, task in zip(paths, tasks.values(), strict=True)
    }
    return join({name: (found, _clusters(found, audits[name].similarity)) for name, found in sequences.items()})


def _clusters(sequences: Sequence[str], similarity: float) -> np.ndarray:
    try:
        return clusters_of(sequences, similarity)
    except DataError:
        # Variants of one another as a whole would be one cluster: only copies count as one item there.
        return np.arange(len(sequences))


def join(found: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> dict[str, np.ndarray]:
    """Return clusters that count as one wherever they hold the same sequence, of either strand.

    Args:
        found: by task, the sequences of its items, and their clusters in the task [items].
    """
    names: dict[str, int] = {}
    items = [
        [names.setdefault(min(one, reverse_complement(one)), len(names)) for one in part] for part, _ in found.values()
    ]
    first = len(names) + np.cumsum([0, *(clusters.max(initial=-1) + 1 for _, clusters in found.values())])
    own = np.concatenate([clusters + start for (_, clusters), start in zip(found.values(), first, strict=False)])
    distinct = np.concatenate([np.array(part, int) for part in items])
    graph = sparse.csr_array((np.ones(len(own), bool), (distinct, own)), shape=(first[-1], first[-1]))
    _, joined = csgraph.connected_components(graph, directed=False)
    ends = np.cumsum([len(part) for part in items])[:-1]
    return dict(zip(found, np.split(joined[own], ends), strict=True))
