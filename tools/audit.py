#!/usr/bin/env python
"""Look the locked packages up in PyPI's database of known vulnerabilities, with pip-audit.

Exit status: 0 if every package was looked up and none has a known vulnerability, 1 if one has, 5 if the database could
not be asked about all of them. pip-audit itself also says that nothing is known of packages that it could not look up.

By hand:  PYTHONPATH=workflow python tools/audit.py envs/requirements.lock --environment .venv-audit
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dnatune.errors import DownloadError, run_script

_PIP_AUDIT = "pip-audit==2.10.1"
_OFFLINE = "no offline database is kept here: type `make audit` on a machine that reaches pypi.org"
#: Most packages that a message names.
_NAMED = 5


def main() -> None:
    """Parse the command line, ask and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path, help="file of pinned requirements")
    parser.add_argument(
        "--environment", type=Path, required=True, help="environment of pip-audit, made if it is missing"
    )
    options = parser.parse_args()
    packages = ask(installed(options.environment), options.lock)
    lines = known(packages)
    print("\n".join(lines) or f"{len(packages)} packages of {options.lock}: no known vulnerability")
    sys.exit(1 if lines else 0)


def installed(environment: Path) -> Path:
    """Return pip-audit in an environment of its own, so that the lock holds nothing of it.

    Raises:
        DownloadError: it cannot be installed.
    """
    program = environment / "bin/pip-audit"
    if not program.is_file():
        python = environment / "bin/python"
        for command in (
            [sys.executable, "-m", "venv", environment],
            [python, "-m", "pip", "install", "-q", _PIP_AUDIT],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                said = (done.stderr.strip() or "no message").splitlines()[-1]
                raise DownloadError(f"{_PIP_AUDIT} cannot be installed: {said}", where=str(environment), fix=_OFFLINE)
    return program


def ask(program: Path, lock: Path) -> list[dict[str, Any]]:
    """Return what pip-audit says of each package of a lock.

    Raises:
        DownloadError: the database cannot be reached, or does not answer for all packages.
    """
    command = [program, "--requirement", lock, "--no-deps", "--disable-pip", "--format", "json"]
    done = subprocess.run([*command, "--progress-spinner", "off"], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        said = (done.stderr.strip() or "nothing").splitlines()[-1][:300]
        raise DownloadError(f"the database cannot be reached; pip-audit says: {said}", fix=_OFFLINE) from None
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped and not known(packages):
        listed = ", ".join(skipped[:_NAMED]) + (" …" if len(skipped) > _NAMED else "")
        raise DownloadError(
            f"the database has not answered for {len(skipped)} of {len(packages)} packages: {listed}", fix=_OFFLINE
        )
    return packages


def known(packages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each known vulnerability."""
    return [
        f"{package['name']} {package['version']}: {one['id']} ({', '.join(one['aliases']) or 'no other name'}),"
        f" mended in {', '.join(one['fix_versions']) or 'no version'}"
        for package in packages
        for one in package.get("vulns", [])
    ]


if __name__ == "__main__":
    run_script(main)
