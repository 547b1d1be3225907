"""Clusters for the tests of this folder: started once, tidied after each test, stopped at the end."""

import os
from collections.abc import Callable, Iterator

import pytest

from cluster import Cluster, Shape, missing_requirements


@pytest.fixture(scope="session")
def running() -> Iterator[list[Cluster]]:
    """The clusters that tests share; they are stopped at the end."""
    clusters: list[Cluster] = []
    yield clusters
    for cluster in clusters:
        cluster.stop()


@pytest.fixture(scope="session")
def make_cluster(tmp_path_factory, running) -> Callable[[Shape], Cluster]:
    """Return a started cluster of the shape asked for, the same one for the same shape."""

    def make(shape: Shape) -> Cluster:
        for cluster in running:
            if cluster.shape == shape:
                return cluster
        cluster = Cluster(tmp_path_factory.mktemp("slurm"), shape)
        cluster.start()
        running.append(cluster)
        return cluster

    return make


@pytest.fixture(scope="session")
def cluster(make_cluster) -> Cluster:
    """The usual cluster: three nodes of eight GPUs, with accounting."""
    return make_cluster(Shape())


@pytest.fixture(scope="session", autouse=True)
def _machine_can_run_slurm() -> None:
    lacks = missing_requirements(Shape())
    if lacks:
        outcome = pytest.fail if os.environ.get("CI") else pytest.skip
        outcome(f"this machine lacks {' and '.join(lacks)}; .ci/packages-slurm.txt lists the packages")


@pytest.fixture(autouse=True)
def _tidy(running) -> Iterator[None]:
    """Leave no job, and no node down, to the next test."""
    yield
    for cluster in running:
        cluster.restore()
