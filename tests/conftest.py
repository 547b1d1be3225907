"""What several test files use: the shared data, a tiny model, small prepared splits."""

import os
from pathlib import Path

import pytest

from dnatune.prompts import render
from dnatune.records import instruction_records, read_csv, write_records
from dnatune.tasks import GUE

ROOT = Path(__file__).resolve().parents[1]
TASK = GUE["prom_core_all"]
TINY = {
    "hidden_size": 32,
    "layers": 2,
    "heads": 4,
    "key_value_heads": 4,
    "intermediate_size": 64,
    "vocabulary": 600,
    "tied_embeddings": False,
    "seed": 0,
}
LORA = {
    "rank": 4,
    "alpha": 16,
    "dropout": 0.0,
    "target_modules": ["q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "down_proj", "up_proj"],
    "modules_to_save": ["embed_tokens", "lm_head"],
}


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
def gue_rows(shared: Path) -> list[tuple[str, int]]:
    """The test split of prom_core_all."""
    return read_csv(shared / "GUE/GUE/prom_core_all/test.csv", 2)


def make_tiny_model(folder: Path, rows: list[tuple[str, int]], **changes) -> Path:
    """Write a tiny model whose tokenizer is made from `rows`."""
    from dnatune.models import make_tiny

    folder.mkdir(parents=True)
    prompt = render({"instruction": TASK.instruction, "input": ""})
    prompts = [prompt + label for label in TASK.labels]
    make_tiny({**TINY, **changes}, [sequence for sequence, _ in rows], prompts, folder)
    return folder


@pytest.fixture(scope="session")
def simulated_rows() -> list[tuple[str, int]]:
    """A few hundred simulated promoters."""
    from dnatune.simulate import SimulationSettings, simulate

    settings = SimulationSettings.from_mapping({"train_size": 600, "dev_size": 50, "test_size": 50})
    return simulate(settings)["train"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, simulated_rows) -> Path:
    """A folder with a tiny Llama and its tokenizer."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", simulated_rows)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, simulated_rows) -> Path:
    """A folder with train.jsonl (400 records), dev.jsonl (60) and test.jsonl (140)."""
    folder = tmp_path_factory.mktemp("prepared")
    records = instruction_records(simulated_rows, TASK)
    write_records(folder / "train.jsonl", records[:400])
    write_records(folder / "dev.jsonl", records[400:460])
    write_records(folder / "test.jsonl", records[460:])
    return folder
