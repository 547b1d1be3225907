"""A finished run, and the stage that publishes it."""

import shutil
import sys

import pytest

from dnatune.commands import publish
from finished_run import finished_run


@pytest.fixture(scope="session")
def made(tiny_model, tmp_path_factory):
    """The results of a finished run, which tests may read and no more."""
    return finished_run(tmp_path_factory.mktemp("finished") / "results/any", tiny_model)


@pytest.fixture
def results(made, tmp_path):
    """A copy of them to change."""
    return shutil.copytree(made, tmp_path / "results/any")


@pytest.fixture
def run_stage(monkeypatch):
    """Return a function that runs the stage in this process."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["publish", *map(str, words)])
        publish.main()

    return run
