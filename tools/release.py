#!/usr/bin/env python
"""Check that a tag, pyproject.toml, CITATION.cff and CHANGELOG.md name the same release; print its notes.

By hand:  PYTHONPATH=workflow python tools/release.py v0.2.0
"""

import argparse
import re
import tomllib
from pathlib import Path

from dnatune.errors import ConfigurationError, run_script

ROOT = Path(__file__).resolve().parents[1]
_TAG = re.compile(r"v(\d+\.\d+\.\d+)")


def main() -> None:
    """Parse the command line and print the notes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", help="v and the version, such as v0.2.0")
    print(notes(ROOT, parser.parse_args().tag))


def notes(root: Path, tag: str) -> str:
    """Return what the changelog says of a release.

    Args:
        root: folder of the checkout.
        tag: v and the version.

    Raises:
        ConfigurationError: the tag is none of a version, or a file names another one, or another date.
    """
    if not (match := _TAG.fullmatch(tag)):
        raise ConfigurationError("the tag is none of a version", where=tag, fix="write v, and three numbers: v0.2.0")
    version = match[1]
    package = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    cited = cited_key(root, "version")
    for file, found in (("pyproject.toml", package), ("CITATION.cff", cited)):
        if found != version:
            raise ConfigurationError(
                f"the version is {found}, and the tag {tag}", where=file, fix=f"set version to {version} and tag again"
            )
    changelog = (root / "CHANGELOG.md").read_text("utf-8")
    section = re.search(rf"^## {re.escape(version)} - (\S+)\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not section or not section[2].strip():
        raise ConfigurationError(
            f"there is no section on {version}",
            where="CHANGELOG.md",
            fix=f"name what stands under Unreleased '## {version} - <date>', the date as 2026-12-31",
        )
    date = cited_key(root, "date-released")
    if date != section[1]:
        raise ConfigurationError(
            f"the date of the release is {date}, and in CHANGELOG.md {section[1]}",
            where="CITATION.cff",
            fix=f"set date-released to {section[1]}",
        )
    return section[2].strip()


def cited_key(root: Path, key: str) -> str | None:
    """Return a key of CITATION.cff that stands in one line; None if it does not stand there.

    The system's Python, which has no reader of YAML, runs this where a release is made.
    """
    text = (root / "CITATION.cff").read_text("utf-8")
    found = re.search(rf"""^{key}: *["']?(.*?)["']?$""", text, re.MULTILINE)
    return found[1] if found else None


if __name__ == "__main__":
    run_script(main)
