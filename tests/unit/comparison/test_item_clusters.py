"""Clusters of test items within a task and across tasks."""

import numpy as np

from dnatune.comparison import item_clusters
from dnatune.comparison import results as finished
from dnatune.data.sequences import reverse_complement
from dnatune.files import write_json_lines
from synthetic_results import PROMOTERS, Results

A, B, C, D = ("".join(np.random.default_rng(seed).choice(list("ACGT"), 60)) for seed in range(4))


def partition(ids):
    return {frozenset(np.flatnonzero(ids == one).tolist()) for one in np.unique(ids)}


def test_clusters_of_several_tasks_are_one_where_they_hold_one_sequence():
    found = item_clusters.join({"one": ([A, B, C], np.array([0, 0, 1])), "two": ([B, D, C], np.array([0, 1, 2]))})
    # B of the second task is in the cluster of A and B of the first; D is alone.
    together = np.concatenate([found["one"], found["two"]])
    assert partition(together) == {frozenset({0, 1, 3}), frozenset({2, 5}), frozenset({4})}
    other = item_clusters.join({"one": ([A], np.array([0])), "two": ([reverse_complement(A)], np.array([0]))})
    assert other["one"][0] == other["two"][0]


def test_clusters_are_read_from_the_prepared_records(tmp_path):
    made = Results(tmp_path, (PROMOTERS, {**PROMOTERS, "name": "prom_core_tata"}), items=4)
    near = A[:30] + ("C" if A[30] == "G" else "G") + A[31:]
    for path, rows in zip(made.records, ([A, near, B, reverse_complement(B)], [C, D, A, C]), strict=True):
        write_json_lines(path, [{"instruction": "Is it one?", "input": one, "output": "promoter"} for one in rows])
    audits = finished.read_audits(made.audits, made.tasks)
    found = item_clusters.read_clusters(made.records, made.tasks, audits)
    assert partition(found["prom_core_all"]) == {frozenset({0, 1}), frozenset({2, 3})}
    assert partition(found["prom_core_tata"]) == {frozenset({0, 3}), frozenset({1}), frozenset({2})}
    assert found["prom_core_tata"][2] == found["prom_core_all"][0]
