"""`pip install .` gives the library whole."""

import subprocess
import sys
import tomllib

import pytest

import installed_wheel
from dnatune.cli import STAGES
from samples import ROOT


def test_every_folder_of_the_library_is_packaged():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    library = ROOT / "workflow"
    found = [".".join(init.parent.relative_to(library).parts) for init in (library / "dnatune").rglob("__init__.py")]
    of_the_checkout = ["dnatune.config", "dnatune.envs", "dnatune.profiles", "dnatune.workflow"]
    assert sorted(packaged) == sorted([*found, *of_the_checkout])


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
    python = installed_wheel.environment_without_dnatune(folder / "env")
    installed_wheel.install_wheel(python, folder / "wheel")
    return python


def test_the_wheel_holds_rules_configurations_and_sites(installed):
    (package,) = installed.parents[1].glob("lib/python*/site-packages/dnatune")
    for checkout, pattern in (
        ("workflow", "Snakefile"),
        ("workflow", "rules/*.smk"),
        ("workflow", "report/*.rst"),
        ("workflow", "schemas/*.yaml"),
        ("config", "*.yaml"),
        ("config", "demo-base/*"),
        ("envs", "dnatune.yaml"),
        ("profiles", "slurm/*"),
        ("profiles", "sites/[!l]*/site.yaml"),
    ):
        expected = {file.relative_to(ROOT) for file in (ROOT / checkout).glob(pattern)}
        assert expected <= {file.relative_to(package) for file in (package / checkout).rglob("*")}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_stage_starts_where_only_the_wheel_is_installed(installed, stage, tmp_path):
    environment = installed_wheel.environment_variables()
    command = [installed, "-m", "dnatune", stage, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m dnatune {stage}")
    where = [installed, "-c", "import dnatune; print(dnatune.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(installed.parents[1]))


def test_doctor_writes_its_site_file_where_it_was_started_and_the_rules_take_it(installed, tmp_path):
    environment = installed_wheel.environment_variables()
    command = [installed, "-m", "dnatune", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    written = tmp_path / "site/site.yaml"
    assert f"{written} was written; to use it: export DNATUNE_SITE={written.parent}" in done.stdout
    (package,) = installed.parents[1].glob("lib/python*/site-packages/dnatune")
    script = "import os, pathlib, sys; from dnatune.settings import site\n"
    script += "print(site.load(pathlib.Path(sys.argv[1]), os.environ).path)"
    loaded = subprocess.run(
        [installed, "-c", script, package],
        cwd=tmp_path,
        env={**environment, "DNATUNE_SITE": str(written.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.strip() == str(written), loaded.stderr
    # Nothing else of the package's folder was written to.
    assert not (package.parents[1] / "profiles").exists()
