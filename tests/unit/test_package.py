"""`pip install .` gives the library whole."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib

import pytest

from dnatune.cli import STAGES
from samples import ROOT


def test_every_folder_of_the_library_is_packaged():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    library = ROOT / "workflow"
    found = [".".join(init.parent.relative_to(library).parts) for init in (library / "dnatune").rglob("__init__.py")]
    assert sorted(packaged) == sorted(found)


def test_preparing_data_imports_no_torch(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.csv").write_text(f"sequence,label\nACGTACGT{'A' * len(split)},0\nGGCC,1\n", "utf-8")
    command = [sys.executable, "-X", "importtime", "-m", "dnatune", "prepare", "--source", tmp_path]
    command += ["--experiment", ROOT / "config/demo.yaml", "--task", "prom_core_all", "--folder", tmp_path / "made"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "dnatune.data.leakage" in imported and "torch" not in imported
    assert (tmp_path / "made/train.jsonl").is_file()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The interpreter of an environment that holds the wheel of this checkout, and other packages from this one's."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    shutil.copytree(ROOT / "workflow", source / "workflow", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(wheel, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    python = folder / "env/bin/python"
    (made,) = folder.glob("dnatune-*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", made], check=True, capture_output=True)
    (packages,) = (folder / "env/lib").glob("python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_starts_where_only_the_wheel_is_installed(installed, stage, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [installed, "-m", "dnatune", stage, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m dnatune {stage}")
    where = [installed, "-c", "import dnatune; print(dnatune.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(installed.parents[1]))
