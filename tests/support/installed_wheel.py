"""An environment in which the wheel of this checkout is installed, and no checkout is in reach."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from samples import ROOT

#: What the wheel is made from, and what a git repository of the workflow holds.
SOURCES = ("workflow", "config", "profiles", "envs", "pyproject.toml", "README.md", "LICENSE")
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def copy_sources(folder: Path) -> Path:
    """Copy what the wheel is made from into a new folder, and return that."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "local"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment_without_dnatune(folder: Path) -> Path:
    """Make an environment that has all packages of this one but dnatune, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # The .pth files of a folder that a .pth file names are not read: this checkout stays out of reach.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin/python"


def install_wheel(python: Path, folder: Path) -> None:
    """Build the wheel of this checkout in a folder, and install it into an environment."""
    source = copy_sources(folder / "source")
    wheel = [*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    subprocess.run(wheel, check=True, capture_output=True)
    (made,) = folder.glob("dnatune-*.whl")
    subprocess.run([*_PIP, "--python", python, "install", "--no-deps", made], check=True, capture_output=True)


def environment_variables() -> Mapping[str, str]:
    """Return this process's environment without what would lead Python to the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
