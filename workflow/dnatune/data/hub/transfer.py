"""Files come from the hub into the client's cache, and from there, all verified, into a folder with a manifest.

`hf_hub_download` gives each download a temporary file of its own and deletes it on failure, so that an
interrupted shard of 5 GB begins again. The client's `http_get` can resume, and does on a partial file that
keeps its name. Bytes come over plain HTTPS, which mirrors speak too; the Xet protocol is not used.

A snapshot is linked into the cache only when all of its files are there and verified, so that an offline run
cannot mistake half a model for a whole one.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from huggingface_hub.utils.sha import git_hash

from dnatune.data.hub.repository import CONTENT_HASH, File, Snapshot, not_cached, with_retries
from dnatune.errors import DownloadError
from dnatune.files import is_lfs_pointer, publish_file, publish_folder, sha256_of_file, write_json


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
        downloads = sum(max(size - _size_of(_partial_of(blob)), 0) for size, blob in blobs if not blob.exists())
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


def fetch(snapshot: Snapshot, name: str) -> tuple[Path, str]:
    """Return a verified file of the cache, downloaded if need be, and its SHA-256.

    Raises:
        DownloadError: the file is damaged, incomplete, a git-lfs pointer or, offline, not in the cache.
    """
    file = snapshot.files[name]
    path, sha256 = _from_cache(snapshot, file) if snapshot.offline else _from_hub(snapshot, file)
    if is_lfs_pointer(path):
        raise DownloadError(
            f"{name} is a git-lfs pointer: its content was never uploaded to the repository",
            where=str(snapshot.repository),
            fix="choose another revision, or tell the repository's owner",
        )
    return path, sha256


def _partial_of(blob: Path) -> Path:
    """Return where the beginning of a blob is kept until all of it is there."""
    return blob.with_name(f"{blob.name}.dnatune-partial")


def _size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _from_cache(snapshot: Snapshot, file: File) -> tuple[Path, str]:
    path = snapshot.folder / file.path
    sha256 = _sha256_if_whole(path, file)
    if sha256 is None:
        raise not_cached(snapshot.repository, f"{file.path} undamaged")
    return path, sha256


def _from_hub(snapshot: Snapshot, file: File) -> tuple[Path, str]:
    repository = snapshot.repository
    if file.size is None or not CONTENT_HASH.fullmatch(file.content_hash or ""):
        raise DownloadError(
            f"the hub gives no checksum of {file.path}", where=str(repository), fix="use another mirror"
        )
    blob = snapshot.blob(file)
    lock = Path(constants.HF_HUB_CACHE) / ".locks" / repository.storage.name / f"{file.content_hash}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    blob.parent.mkdir(parents=True, exist_ok=True)
    # The client's own lock. Where a file system ignores locks two writers may garble a partial file; the
    # checksum catches that.
    with WeakFileLock(lock):
        return blob, _sha256_if_whole(blob, file) or _download(snapshot, file, blob)


def _download(snapshot: Snapshot, file: File, blob: Path) -> str:
    """Download `file` to `blob`, continuing what an earlier run left, and return its SHA-256.

    What arrived stays for the next run unless it cannot be the beginning of the right content.
    """
    partial = _partial_of(blob)
    continued = _size_of(partial) > 0
    _transfer(snapshot, file, partial)
    sha256 = _sha256_if_whole(partial, file)
    if sha256 is None and continued and _size_of(partial) >= file.size:
        partial.unlink()  # the earlier run's part may be to blame: once more, from the start
        _transfer(snapshot, file, partial)
        sha256 = _sha256_if_whole(partial, file)
    if sha256 is None:
        raise _not_whole(snapshot, file, partial)
    # A link to the client's store of shared blobs is replaced, never written through.
    partial.replace(blob)
    return sha256


def _not_whole(snapshot: Snapshot, file: File, partial: Path) -> DownloadError:
    """Say what arrived in place of the file, and delete it if nothing can be made of it."""
    size, pointer = _size_of(partial), is_lfs_pointer(partial)
    if pointer or size >= file.size:
        partial.unlink()
    if pointer:
        what = f"the hub delivered a git-lfs pointer in place of {file.path}"
        fix = "use another mirror, or the hub itself: this one does not hold large files"
    elif size == file.size:
        what = f"{file.path} arrived damaged: its checksum is not the hub's ({file.content_hash})"
        fix = "run it again; if it stays, a proxy or mirror alters the content: use another"
    else:
        what = f"{file.path} arrived with {size} of {file.size} bytes"
        fix = "run it again; a download that broke off is continued"
    return DownloadError(what, where=str(snapshot.repository), fix=fix)


def _transfer(snapshot: Snapshot, file: File, partial: Path) -> None:
    """Bring `partial` up to the file's size. The client resumes broken connections a few times by itself."""
    repository = snapshot.repository
    url = hf_hub_url(
        repository.name,
        file.path,
        repo_type=repository.kind,
        revision=snapshot.commit,
        endpoint=repository.endpoint,
    )
    headers = build_hf_headers(token=repository.token, library_name="dnatune")
    # A compressed answer has no ranges to resume at.
    headers["Accept-Encoding"] = "identity"
    if _size_of(partial) > file.size:
        partial.unlink()

    def get() -> None:
        with partial.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=stream.tell(),
                headers=headers,
                expected_size=file.size,
                displayed_filename=file.path,
            )

    try:
        with_retries(get, broken_connections=False)
    except OSError as error:
        if error.errno is not None or isinstance(error, HfHubHTTPError):
            raise
        # The client's check of the size; the caller looks closer.


def _sha256_if_whole(path: Path, file: File) -> str | None:
    """Return the SHA-256 of `path` if it has the file's size and content, else None."""
    if not path.is_file() or path.stat().st_size != file.size:
        return None
    sha256 = sha256_of_file(path)
    if file.content_hash is None or file.content_hash == sha256:
        return sha256
    by_git = len(file.content_hash) == 40 and git_hash(path.read_bytes()) == file.content_hash
    return sha256 if by_git else None


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
