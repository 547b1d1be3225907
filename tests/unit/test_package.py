"""`pip install .` gives the library whole."""

import subprocess
import sys
import tomllib

from samples import ROOT


def test_every_folder_of_the_library_is_packaged():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    library = ROOT / "workflow"
    found = [".".join(init.parent.relative_to(library).parts) for init in (library / "dnatune").rglob("__init__.py")]
    assert sorted(packaged) == sorted([*found, "dnatune.schemas"])


def test_preparing_data_imports_no_torch(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text(f"sequence,label\nACGTACGT{'A' * len(split)},0\nGGCC,1\n", "utf-8")
    command = [sys.executable, "-X", "importtime", "-m", "dnatune", "prepare", "--source", tmp_path]
    command += ["--experiment", ROOT / "config/demo.yaml", "--task", "prom_core_all", "--folder", tmp_path / "made"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "dnatune.data.leakage" in imported and "torch" not in imported
    assert (tmp_path / "made/train.jsonl").is_file()
