"""Finished runs that several tests look at, each made once."""

import random
import shutil
from pathlib import Path

import pytest
from workflow_runs import Workplace, small

#: What tells the classes of the task `sites` apart.
_MARKS = ("", "GTAAGT", "TTTCAG")


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Workplace:
    """A finished run of the small configuration. Tests may read it and dry-run in it, no more."""
    workplace = Workplace(tmp_path_factory.mktemp("chain"))
    workplace.complete(small())
    return workplace


@pytest.fixture
def copied_chain(chain, tmp_path) -> Workplace:
    """A copy of the finished run to go on from."""
    return _copied(chain, tmp_path / "copy")


@pytest.fixture(scope="session")
def sites_task(tmp_path_factory) -> dict:
    """A task of three classes with a folder of its own, as it stands in the configuration."""
    folder = tmp_path_factory.mktemp("sites")
    dice = random.Random(0)
    for split, rows in (("train", 240), ("dev", 30), ("test", 45)):
        lines = ["sequence,label"]
        for row in range(rows):
            label = row % 3
            left, right = ("".join(dice.choices("ACGTNacgt", k=20)) for _ in range(2))
            lines.append(f"{left}{_MARKS[label]}{right},{label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return {
        "name": "sites",
        "path": str(folder),
        "labels": ["no site", "donor", "acceptor"],
        "instruction": "Which splice site does this sequence hold: no site, donor or acceptor?",
        "metric": "f1_macro",
    }


@pytest.fixture(scope="session")
def sites_configuration(sites_task) -> dict:
    """The small configuration with the task of three classes added and no merged model kept."""
    return small(tasks=["prom_core_all", sites_task], optimizers={"wild": None}, keep_merged=False)


@pytest.fixture(scope="session")
def sites_chain(chain, sites_configuration, tmp_path_factory) -> Workplace:
    """The finished run of `sites_configuration`, gone on from that of the small configuration."""
    workplace = _copied(chain, tmp_path_factory.mktemp("sites_chain") / "copy")
    workplace.complete(sites_configuration)
    return workplace


def _copied(chain: Workplace, folder: Path) -> Workplace:
    # Times and Snakemake's own records come along, so that the copy is as finished as the original.
    shutil.copytree(chain.folder, folder)
    return Workplace(folder)
