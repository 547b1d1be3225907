"""The floors of the library are held up: an import from above is found, wherever in a file it stands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samples import ROOT


def lint(folder):
    shutil.copytree(ROOT / "workflow/dnatune", folder / "dnatune", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")

    def run():
        command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


def test_no_module_imports_from_above(tmp_path):
    done = lint(tmp_path)()
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("low", "statement", "named"),
    [
        ("optimizers/tableaux.py", "from dnatune.report import page", "dnatune.report"),
        ("files.py", "def late():\n    from dnatune.commands import merge", "dnatune.commands"),
    ],
    ids=["at the top", "inside a function"],
)
def test_an_import_from_above_is_named(tmp_path, low, statement, named):
    run = lint(tmp_path)
    file = tmp_path / "dnatune" / low
    file.write_text(f"{file.read_text('utf-8')}\n\n{statement}\n", "utf-8")
    done = run()
    assert done.returncode != 0
    module = f"dnatune.{low.removesuffix('.py').replace('/', '.')}"
    assert any(module in line and named in line for line in done.stdout.splitlines()), done.stdout
