"""Finished runs that several tests look at, each made once."""

import shutil
from pathlib import Path

import pytest
from workflow_runs import Workplace, small


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Workplace:
    """A finished run of the small configuration. Tests may read it and dry-run in it, no more."""
    workplace = Workplace(tmp_path_factory.mktemp("chain"))
    workplace.complete(small())
    return workplace


@pytest.fixture
def copied_chain(chain, tmp_path) -> Workplace:
    """A copy of the finished run, times and Snakemake's records included, to go on from."""
    folder = tmp_path / "copy"
    shutil.copytree(chain.folder, folder)
    return Workplace(folder)
