"""Fixtures for every folder of tests: the shared data, a tiny model, small prepared splits."""

import os
from pathlib import Path

import pytest

from dnatune.data.records import read_csv, write_split
from fault_table import FaultTable
from samples import ROOT, TASK, make_tiny_model, rows_of, split_of

# Processes that tests start find the library where the tests do.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "workflow"), os.environ.get("PYTHONPATH")]))


#: What takes longer than the other files of its folder, and comes first: processes that share the tests then end
#: together.
_LONG = tuple(
    ROOT / "tests" / file
    for file in ("unit/training/test_zero.py", "unit/test_golden.py", "unit/model/test_packing.py", "faults")
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files."""
    items.sort(key=lambda item: not any(item.path.is_relative_to(place) for place in _LONG))


def pytest_configure(config: pytest.Config) -> None:
    """Print the table of faults after a run of the tests of faults alone."""
    if "fault" in config.option.markexpr:
        config.pluginmanager.register(FaultTable())


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real GUE data and a real tokenizer, which are never part of the project."""
    path = Path(os.environ.get("DNATUNE_SHARED", ROOT.parent / "shared"))
    if not (path / "GUE").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"no shared data at {path}: set DNATUNE_SHARED")
        pytest.skip(f"no shared data at {path}; DNATUNE_SHARED names the folder that holds GUE/ and tokenizers/")
    return path


@pytest.fixture(scope="session")
def checks() -> Path:
    """The folder of the programs of envs/checks.lock, which `make lint` installs."""
    path = ROOT / ".venv-checks/bin"
    if not (path.parent / ".ready").is_file():
        if os.environ.get("CI"):
            pytest.fail(f"no programs at {path}: `make lint` installs them")
        pytest.skip(f"no programs at {path}; `make lint` installs them")
    return path


@pytest.fixture(scope="session")
def gue_rows(shared: Path) -> list[tuple[str, int]]:
    """The test split of prom_core_all."""
    return rows_of(read_csv(shared / "GUE/GUE/prom_core_all/test.csv", TASK))


@pytest.fixture(scope="session")
def simulated_rows() -> list[tuple[str, int]]:
    """A few hundred simulated promoters."""
    from dnatune.data.simulation import SimulationSettings, simulate

    settings = SimulationSettings(**{"train_size": 600, "dev_size": 50, "test_size": 50})
    return simulate(settings)["train"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, simulated_rows) -> Path:
    """A folder with a tiny Llama and its tokenizer."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", simulated_rows)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, simulated_rows) -> Path:
    """A folder with train.jsonl (400 records), dev.jsonl (60) and test.jsonl (140)."""
    folder = tmp_path_factory.mktemp("prepared")
    for name, rows in {
        "train": simulated_rows[:400],
        "dev": simulated_rows[400:460],
        "test": simulated_rows[460:],
    }.items():
        write_split(folder / f"{name}.jsonl", split_of(rows), TASK.labels)
    return folder
