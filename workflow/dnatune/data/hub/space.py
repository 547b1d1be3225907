"""Whether what is to be fetched fits on the disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from dnatune.data.hub.repository import Snapshot
from dnatune.data.hub.transfer import partial_of, size_of
from dnatune.errors import DownloadError


def require_space(snapshot: Snapshot, names: Iterable[str], destination: Path) -> None:
    """Refuse at once what cannot fit, rather than after hours.

    Raises:
        DownloadError: the cache's or the destination's file system has too little room.
    """
    cache, folder = _existing(snapshot.repository.storage), _existing(destination.parent)
    files = [snapshot.files[name] for name in names]
    downloads = 0
    if not snapshot.offline:
        blobs = [(file.size or 0, snapshot.blob(file)) for file in files]
        downloads = sum(max(size - size_of(partial_of(blob)), 0) for size, blob in blobs if not blob.exists())
    copies = sum(file.size or 0 for file in files) if cache.stat().st_dev != folder.stat().st_dev else 0
    for place, needed, remedy in (
        (cache, downloads, "make room, or set HF_HOME to a larger disk"),
        (folder, copies, "make room, or work on a larger disk"),
    ):
        free = shutil.disk_usage(place).free
        if needed > free:
            raise DownloadError(
                f"too little room on the disk: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free",
                where=str(place),
                fix=remedy,
            )


def _existing(path: Path) -> Path:
    """Return the nearest folder at or above `path` that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
