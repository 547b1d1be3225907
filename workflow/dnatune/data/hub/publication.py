"""Verified files become a snapshot of the cache and a folder with a manifest.

A snapshot is linked into the cache only when all of its files are there and verified, so that an offline run
cannot mistake half a model for a whole one.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dnatune.data.hub.repository import Snapshot
from dnatune.files import publish_file, publish_folder, write_json


def publish(
    snapshot: Snapshot, fetched: dict[str, tuple[Path, str]], destination: Path, requested: str | None
) -> dict[str, Any]:
    """Put verified files and their manifest at `destination`, and return the manifest."""
    if not snapshot.offline:
        _complete_cache(snapshot, fetched)
    manifest = {
        "source": "hub",
        "origin": snapshot.repository.name,
        "requested": requested or snapshot.repository.revision,
        "revision": snapshot.commit,
        "settings": {},
        "files": {Path(name).name: sha256 for name, (_, sha256) in sorted(fetched.items())},
    }
    with publish_folder(destination) as folder:
        for name, (path, _) in fetched.items():
            _place(path, folder / Path(name).name)
        write_json(folder / "manifest.json", manifest)
    return manifest


def _place(source: Path, target: Path) -> None:
    """Copy a file; weights are hard-linked where possible, since they are large and nobody edits them."""
    real = source.resolve()
    if target.suffix == ".safetensors" and os.access(real, os.W_OK):  # another user's file must not be shared
        with contextlib.suppress(OSError):  # another file system, or one without hard links
            os.link(real, target)
            return
    shutil.copyfile(real, target)


def _complete_cache(snapshot: Snapshot, names: Iterable[str]) -> None:
    """Link the files into the client's cache as a snapshot, and note which commit the revision means."""
    for name in names:
        blob, link = snapshot.blob(snapshot.files[name]), snapshot.folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        scratch = link.with_name(f".{link.name}.{os.getpid()}")
        try:
            scratch.symlink_to(os.path.relpath(blob, link.parent))
        except OSError:  # a file system without symbolic links
            shutil.copyfile(blob, scratch)
        scratch.replace(link)
    if snapshot.repository.revision != snapshot.commit:
        with publish_file(snapshot.repository.storage / "refs" / snapshot.repository.revision) as scratch:
            scratch.write_text(snapshot.commit, "utf-8")
