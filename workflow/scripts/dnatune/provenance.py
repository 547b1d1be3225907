"""What made a result: software versions, git commit, code digest, hardware."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

from dnatune.files import digest, sha256_of_file

_LIBRARY = Path(__file__).resolve().parent
_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "tokenizers", "snakemake")


def software() -> dict[str, str | None]:
    """Return versions of Python and the packages that matter, the git commit and the digest of the library's code."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {**versions, "git_commit": git_commit(), "code": code_digest()}


def packages() -> dict[str, str]:
    """Return the version of every package of this environment, by name in lower case."""
    found = {dist.metadata["Name"].lower(): dist.version for dist in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def git_commit() -> str | None:
    """Return the checkout's commit, with `+` where tracked files differ from it; None outside a checkout."""
    try:
        command = [
            "git",
            "-C",
            str(_LIBRARY),
            "describe",
            "--always",
            "--abbrev=40",
            "--exclude=*",
            "--dirty=+",
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def code_digest() -> str:
    """Return a digest of the library's source, which tells results of different code apart."""
    return digest({str(file.relative_to(_LIBRARY)): sha256_of_file(file) for file in sorted(_LIBRARY.rglob("*.py"))})
