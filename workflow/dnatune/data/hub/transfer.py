"""Transfers files from the hub into the client's cache and, after verification, into a folder with a manifest.

`hf_hub_download` gives each download its own temporary file and deletes it on failure, so that an interrupted
shard of 5 GB begins again. The client's `http_get` can resume a partial file, and here the file keeps its name.
The transfer uses plain HTTPS, which mirrors also support, and not the Xet protocol.

A snapshot is linked into the cache only after all of its files are complete and verified, so that an offline run
cannot mistake half a model for a complete one.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from huggingface_hub import constants, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers
from huggingface_hub.utils.sha import git_hash

from dnatune.data.hub.repository import CONTENT_HASH, File, Snapshot, not_cached, with_retries
from dnatune.data.integrity import stamps
from dnatune.data.manifests import Manifest
from dnatune.errors import DownloadError, ModelError
from dnatune.files import is_lfs_pointer, publish_file, publish_folder, sha256_of_file


def require_space(snapshot: Snapshot, names: Iterable[str], destination: Path) -> None:
    """Refuse files that do not fit on the disk before the download begins.

    Raises:
        DownloadError: the file system of the cache or of the destination has too little space.
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
        (folder, copies, "make room, or use a larger disk"),
    ):
        free = shutil.disk_usage(place).free
        if needed > free:
            raise DownloadError(
                f"too little space on the disk: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free",
                where=str(place),
                fix=remedy,
            )


def _existing(path: Path) -> Path:
    """Return the nearest folder at or above `path` that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def fetch(snapshot: Snapshot, name: str) -> tuple[Path, str]:
    """Return the path of a verified file in the cache, downloaded if necessary, and its SHA-256.

    Raises:
        DownloadError: the file is damaged, incomplete, a git-lfs pointer or, offline, not in the cache.
    """
    file = snapshot.files[name]
    path, sha256 = _from_cache(snapshot, file) if snapshot.offline else _from_hub(snapshot, file)
    if is_lfs_pointer(path):
        raise DownloadError(
            f"{name} is a git-lfs pointer: its content was never uploaded to the repository",
            where=str(snapshot.repository),
            fix="choose another revision, or inform the repository's owner",
        )
    return path, sha256


def _partial_of(blob: Path) -> Path:
    """Return the path of a blob's partial download."""
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
            f"the hub gives no checksum for {file.path}", where=str(repository), fix="use another mirror"
        )
    blob = snapshot.blob(file)
    lock = Path(constants.HF_HUB_CACHE) / ".locks" / repository.storage.name / f"{file.content_hash}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    blob.parent.mkdir(parents=True, exist_ok=True)
    # The client's own lock. If a file system ignores locks, two writers may damage a partial file, which the
    # checksum detects.
    with WeakFileLock(lock):
        return blob, _sha256_if_whole(blob, file) or _download(snapshot, file, blob)


def _download(snapshot: Snapshot, file: File, blob: Path) -> str:
    """Download `file` to `blob`, continuing an earlier partial download, and return its SHA-256.

    After an interruption, the partial file is kept for the next run unless it cannot be a part of the right content.
    """
    partial = _partial_of(blob)
    continued = _size_of(partial) > 0
    _transfer(snapshot, file, partial)
    sha256 = _sha256_if_whole(partial, file)
    if sha256 is None and continued and _size_of(partial) >= file.size:
        partial.unlink()  # the earlier part may be damaged: download again from the start
        _transfer(snapshot, file, partial)
        sha256 = _sha256_if_whole(partial, file)
    if sha256 is None:
        raise _not_whole(snapshot, file, partial)
    # If the blob is a link to the client's store of shared blobs, the link is replaced and the store is not changed.
    partial.replace(blob)
    return sha256


def _not_whole(snapshot: Snapshot, file: File, partial: Path) -> DownloadError:
    """Return an error that says what arrived instead of the file; delete it if it cannot be continued."""
    size, pointer = _size_of(partial), is_lfs_pointer(partial)
    if pointer or size >= file.size:
        partial.unlink()
    if pointer:
        what = f"the hub delivered a git-lfs pointer in place of {file.path}"
        fix = "use another mirror, or the hub itself: this one does not hold large files"
    elif size == file.size:
        what = f"{file.path} arrived damaged: its checksum is not the hub's ({file.content_hash})"
        fix = "run the command again; if the error remains, a proxy or mirror alters the content: use another"
    else:
        what = f"{file.path} arrived with {size} of {file.size} bytes"
        fix = "run the command again; an interrupted download is continued"
    return DownloadError(what, where=str(snapshot.repository), fix=fix)


def _transfer(snapshot: Snapshot, file: File, partial: Path) -> None:
    """Download the rest of `partial`; the client itself resumes broken connections a few times."""
    repository = snapshot.repository
    url = hf_hub_url(
        repository.name,
        file.path,
        repo_type=repository.kind,
        revision=snapshot.commit,
        endpoint=repository.endpoint,
    )
    headers = build_hf_headers(token=repository.token, library_name="dnatune")
    # A compressed response has no byte ranges, so it could not be resumed.
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
        # The client found a wrong size; the caller checks the file.


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
    snapshot: Snapshot,
    fetched: dict[str, tuple[Path, str]],
    destination: Path,
    requested: str | None,
    check: Callable[[Path], None] = lambda _: None,
) -> Manifest:
    """Put verified files and their manifest at `destination`, and return the manifest.

    Args:
        snapshot: of the repository.
        fetched: path and SHA-256 of each file.
        destination: folder, which is replaced as a whole.
        requested: the name under which the revision was first requested.
        check: raises a ModelError of files that must not become the destination.
    """
    if not snapshot.offline:
        _complete_cache(snapshot, fetched)
    hashes = {Path(name).name: sha256 for name, (_, sha256) in sorted(fetched.items())}
    with publish_folder(destination) as folder:
        for name, (path, _) in fetched.items():
            _place(path, folder / Path(name).name)
        try:
            check(folder)
        except ModelError as error:
            error.where = str(snapshot.repository)
            raise
        manifest = Manifest(
            source="hub",
            origin=snapshot.repository.name,
            requested=requested or snapshot.repository.revision,
            revision=snapshot.commit,
            settings={},
            files=hashes,
            large=stamps(folder, hashes),
        )
        manifest.write(folder / "manifest.json")
    return manifest


def _place(source: Path, target: Path) -> None:
    """Copy a file; hard-link weights if possible, because they are large and nobody edits them."""
    real = source.resolve()
    if target.suffix == ".safetensors" and os.access(real, os.W_OK):  # do not share another user's file
        with contextlib.suppress(OSError):  # another file system, or one without hard links
            os.link(real, target)
            return
    shutil.copyfile(real, target)


def _complete_cache(snapshot: Snapshot, names: Iterable[str]) -> None:
    """Link the files into the client's cache as a snapshot, and store the commit of the revision."""
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
