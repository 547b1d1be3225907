"""A headless Chromium for the tests of this folder, and what they take from npm.

Where something is missing the tests skip and say what; in CI they fail.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "unit"))

_SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _stop(lack: str) -> None:
    outcome = pytest.fail if os.environ.get("CI") else pytest.skip
    outcome(f"this machine lacks {lack}; .ci/packages-browser.txt lists the packages", pytrace=False)


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """A started browser of the system; its contexts share nothing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        _stop("Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_SWITCHES))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of what package-lock.json pins, installed on the first call."""
    folder = HERE / "node_modules"
    if shutil.which("node") is None or (not folder.is_dir() and shutil.which("npm") is None):
        _stop("node or npm")
    if not folder.is_dir():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            _stop(f"what npm installs ({done.stderr.strip().splitlines()[-1:]})")
    return folder


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory) -> Path:
    """The folder that screenshots are kept in: DNATUNE_SCREENSHOTS, else a folder of pytest's."""
    place = os.environ.get("DNATUNE_SCREENSHOTS")
    folder = Path(place).resolve() if place else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
