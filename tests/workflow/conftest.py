"""Finished runs that several tests look at, and runs of their training alone."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import forked_python
from workflow_runs import PYTHON, RUN, Workplace, copied, small

#: What tells the classes of the task `sites` apart.
_MARKS = ("", "GTAAGT", "TTTCAG")


@pytest.fixture(scope="session")
def chain(tmp_path_factory) -> Workplace:
    """A finished run of the small configuration. Tests may read it and dry-run in it, no more.

    Python itself runs its stages, as it does at a user's.
    """
    origin = _made_once(tmp_path_factory, "chain", lambda folder: Workplace(folder, PYTHON).complete(small()))
    return copied(origin, tmp_path_factory.mktemp("chain") / "copy")


@pytest.fixture
def copied_chain(chain, tmp_path) -> Workplace:
    """A copy of the finished run to go on from."""
    return copied(chain.folder, tmp_path / "copy")


@pytest.fixture(scope="session")
def sites_task(tmp_path_factory) -> dict:
    """A task of three classes with a folder of its own, as it stands in the configuration."""
    folder = _made_once(tmp_path_factory, "sites", _write_sites)
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
    origin = _made_once(
        tmp_path_factory, "sites_chain", lambda folder: copied(chain.folder, folder).complete(sites_configuration)
    )
    return copied(origin, tmp_path_factory.mktemp("sites_chain") / "copy")


@pytest.fixture(scope="session")
def start_training(chain) -> Callable[..., subprocess.Popen]:
    """Return a function that starts the training of `RUN` once more, into a folder, some settings laid over its own."""

    def start(
        folder: Path, ranks: int = 1, job: str | None = None, train: Path | None = None, **changes
    ) -> subprocess.Popen:
        state, experiment = folder / "checkpoints", folder / "experiment.json"
        folder.mkdir(parents=True, exist_ok=True)
        experiment.write_text(json.dumps(small(**changes)), "utf-8")
        command = forked_python.stage("launch", "--ranks", str(ranks), "--cpus", str(ranks))
        command += ["--state", state, "finetune"]
        command += ["--experiment", experiment, "--run", RUN.removeprefix("finetune/")]
        command += ["--model", chain.results / "download/models/tiny", "--checkpoints", state]
        prepared = chain.results / "prepare/prom_core_all"
        command += ["--train", train or prepared / "train.jsonl", "--dev", prepared / "dev.jsonl"]
        command += ["--record", folder / "run.json", "--training-log", folder / "training.jsonl"]
        # Inside a job the launcher waits for another writer.
        environment = {**os.environ, **({"SLURM_JOB_ID": job} if job else {})}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def _write_sites(folder: Path) -> None:
    folder.mkdir()
    dice = random.Random(0)
    for split, rows in (("train", 240), ("dev", 30), ("test", 45)):
        lines = ["sequence,label"]
        for row in range(rows):
            label = row % 3
            left, right = ("".join(dice.choices("ACGTNacgt", k=20)) for _ in range(2))
            lines.append(f"{left}{_MARKS[label]}{right},{label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", "utf-8")


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the first of the processes which share the tests has made for all."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made, scratch = base / f"{name}-for-all", base / f"{name}-in-the-making"
    with FileLock(base / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(scratch, ignore_errors=True)
            make(scratch)
            scratch.rename(made)
    return made
