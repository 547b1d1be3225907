"""What made a result: software versions, git commit, code digest, hardware."""

import ast
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from dnatune.files import digest, sha256_of_file

_LIBRARY = Path(__file__).resolve().parent
_PACKAGES = ("torch", "transformers", "peft", "deepspeed", "tokenizers", "snakemake")


def software(script: Path) -> dict[str, str | None]:
    """Return versions of Python and the packages that matter, the git commit and the digest of a stage's code.

    Args:
        script: the script of the stage.
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {**versions, "git_commit": git_commit(), "code": code_digest(script)}


def packages() -> dict[str, str]:
    """Return the version of every package of this environment, by name in lower case."""
    found = {dist.metadata["Name"].lower(): dist.version for dist in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def cpu_model() -> str:
    """Return the name of this machine's processor."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text("utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


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


def code_digest(script: Path) -> str:
    """Return a digest of a script and of all that it imports from the library, however deep and however late.

    It tells results of different code apart, and stays where only another stage's code has changed.
    """
    found: dict[Path, str] = {}
    waiting = [script]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = sha256_of_file(file)
            waiting += _imports(file)
    return digest({file.name if file == script else str(file.relative_to(_LIBRARY)): found[file] for file in found})


def _imports(file: Path) -> list[Path]:
    """Return the files of the library that a file imports."""
    names = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    own = [name.split(".")[1:] for name in names if name.split(".")[0] == _LIBRARY.name]
    parts = [parts[:depth] for parts in own for depth in range(len(parts) + 1)]
    places = {_LIBRARY.joinpath(*part) for part in parts} - {_LIBRARY}
    # Of a package all files: some of them are imported by name, when they are asked for.
    return [
        path for place in sorted(places) for path in (place.with_suffix(".py"), *place.glob("*.py")) if path.is_file()
    ]
