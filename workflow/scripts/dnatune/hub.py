"""Models and GUE splits from a model hub: a pinned commit, every byte verified, whole or not at all.

Files land first in the client's standard cache (`HF_HOME`), because that is what transformers and the `hf`
command share, what `HF_HUB_OFFLINE=1` reads, and what outlives an interrupted run; from there they are linked
or copied into the destination. The cache keeps its documented layout (refs, blobs, snapshots), but two habits
of the client are changed:

- `hf_hub_download` gives each download a temporary file of its own and deletes it on failure, so that an
  interrupted shard of 5 GB begins again. The client's `http_get` can resume, and does on a partial file that
  keeps its name.
- A snapshot is linked into the cache only when all of its files are there and verified, so that an offline
  run cannot mistake half a model for a whole one.

Bytes come over plain HTTPS, which mirrors speak too; the Xet protocol is not used.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # the base class of the HTTP library that the client is built on
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session, validate_repo_id
from huggingface_hub.utils.sha import git_hash

from dnatune.errors import DataError, DnatuneError, DownloadError, ModelError
from dnatune.files import publish_file, publish_folder, sha256_of_file, write_json

_SPLITS = ("train", "dev", "test")
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
#: Everything but the weights, in lower case. An allow-list: code, pickles and adapters can never match.
_MODEL_FILES = (
    "config*.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "license",
    "license.txt",
    "license.md",
    "notice",
    "notice.txt",
    "readme.md",
)
#: Any one of these makes a tokenizer.
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CONTENT_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

#: Seconds to wait before asking again after a server error or a broken connection. Few and short: a batch
#: system repeats the whole job, and that a hub cannot be reached should be said while the user still looks.
_WAITS = (1.0, 3.0)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Repository:
    """What was asked for, where it is fetched from and where the client caches it."""

    name: str
    kind: str  # "model" or "dataset"
    revision: str
    endpoint: str
    token_allowed: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.name}, revision {self.revision}, at {self.host}"

    @property
    def host(self) -> str:
        """The hub's address without any user name and password in it."""
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def token(self) -> bool | None:
        """The client's `token` argument: None lets it find HF_TOKEN or a stored log-in, False forbids it."""
        return None if self.token_allowed else False

    @property
    def storage(self) -> Path:
        """The repository's folder in the client's cache."""
        return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self.name, repo_type=self.kind)


@dataclass(frozen=True)
class _File:
    """A file of a commit: path in the repository, size in bytes, and the hash that names its content.

    The hash is the SHA-256 of a file stored by git-lfs and git's blob SHA-1 of any other. It is None only for
    a cached file on a file system without symbolic links, where the cache does not keep it.
    """

    path: str
    size: int
    content_hash: str | None


@dataclass(frozen=True)
class _Snapshot:
    """A resolved commit and its files by path; `offline` says that only the cache was asked."""

    repository: _Repository
    commit: str
    files: dict[str, _File]
    offline: bool

    @property
    def folder(self) -> Path:
        return self.repository.storage / "snapshots" / self.commit


def fetch_model(
    repo: str, revision: str, destination: Path, *, endpoint: str | None = None, token_allowed: bool = True
) -> dict[str, Any]:
    """Fetch a base model and its tokenizer into the folder `destination`, and return its manifest.

    Only configuration, tokenizer, license, read-me and the safetensors weights that transformers would load
    are fetched: `model.safetensors`, else the shards that `model.safetensors.index.json` names. Nothing is
    published at `destination` until everything is there and verified. An interrupted download is continued.

    Args:
        repo: `owner/name`.
        revision: branch, tag or 40-digit commit. Resolved once; the manifest records the commit.
        destination: folder, replaced whole. The manifest (docs/contracts.md) is its `manifest.json`.
        endpoint: address of the hub or a mirror; default `HF_ENDPOINT`, else the client's.
        token_allowed: whether `HF_TOKEN` or a stored log-in may be sent to that address.

    Raises:
        DownloadError: the hub, network, disk or content is at fault, or the weights are only pickles.
        ModelError: the repository lacks its configuration, tokenizer or weights.
    """
    repository = _repository(repo, "model", revision, endpoint, token_allowed)
    with _told_plainly(repository):
        snapshot = _resolve(repository)
        names = _choose(snapshot, model_files)
        _require_space(snapshot, names, destination)
        fetched = {name: _fetch(snapshot, name) for name in names}
        if _INDEX in fetched:
            index, _ = fetched[_INDEX]
            shards = _choose(snapshot, lambda available: shards_of(index, available))
            _require_space(snapshot, shards, destination)
            fetched |= {name: _fetch(snapshot, name) for name in shards}
        return _publish(snapshot, fetched, destination)


def fetch_dataset_splits(
    repo: str,
    revision: str,
    task: str,
    destination: Path,
    *,
    endpoint: str | None = None,
    token_allowed: bool = True,
) -> dict[str, Any]:
    """Fetch `GUE/<task>/{train,dev,test}.csv` into the folder `destination`, and return its manifest.

    Arguments, publication and resume as in `fetch_model`.

    Raises:
        DownloadError: the hub, network, disk or content is at fault.
        DataError: the repository has no such task, or lacks one of its splits.
    """
    repository = _repository(repo, "dataset", revision, endpoint, token_allowed)
    with _told_plainly(repository):
        snapshot = _resolve(repository)
        names = _choose(snapshot, lambda available: split_files(task, available))
        _require_space(snapshot, names, destination)
        return _publish(snapshot, {name: _fetch(snapshot, name) for name in names}, destination)


def is_lfs_pointer(path: Path) -> bool:
    """Say whether a file is the three-line stand-in that git keeps for content stored by git-lfs."""
    with path.open("rb") as stream:
        return stream.read(len(_LFS_POINTER)) == _LFS_POINTER


def model_files(available: Iterable[str]) -> list[str]:
    """Return the files of a model repository that are needed, of sharded weights the index alone.

    Only the repository's root is looked at: other folders hold other formats of the same model.

    Raises:
        DownloadError: the weights are only there as pickles.
        ModelError: configuration, tokenizer or weights are missing.
    """
    root = {path for path in available if "/" not in path}
    chosen = sorted(path for path in root if any(fnmatchcase(path.lower(), pattern) for pattern in _MODEL_FILES))
    pickles = sorted(path for path in root if path.endswith(_PICKLES))
    weights = next((path for path in (_WEIGHTS, _INDEX) if path in root), None)
    if weights is None and "adapter_model.safetensors" in root:
        raise ModelError(
            "the repository holds an adapter, not a base model",
            fix="name the repository of the model that the adapter was trained on",
        )
    if weights is None and pickles:
        raise DownloadError(
            f"the weights are only there as pickles ({', '.join(pickles)}); dnatune takes safetensors only, "
            "because loading a pickle runs whatever code it holds",
            fix="see whether the hub has a converted copy (a pull request is a revision: refs/pr/1), or load "
            "the model in a throw-away environment, save it with save_pretrained(), and name that folder as "
            "the model's `directory`",
        )
    if weights is None:
        raise ModelError(
            f"the repository has no weights: neither {_WEIGHTS} nor {_INDEX}",
            fix="name the repository of a transformers model with safetensors weights",
        )
    if "config.json" not in root:
        raise ModelError("the repository has no config.json", fix="name the repository of a transformers model")
    if not root.intersection(_VOCABULARIES):
        raise ModelError(
            f"the repository has no tokenizer: none of {', '.join(_VOCABULARIES)}",
            fix="download the model by hand, put the tokenizer it was trained with beside it, and name that "
            "folder as the model's `directory`",
        )
    return [*chosen, weights]


def shards_of(index: Path, available: Iterable[str]) -> list[str]:
    """Return the weight files that a `model.safetensors.index.json` names.

    Raises:
        ModelError: the index is not one, or a shard is missing from the repository or not safetensors.
    """
    try:
        shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        unsafe = [shard for shard in shards if "/" in shard or not shard.endswith(".safetensors")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{_INDEX} is not an index of weights", fix="choose another revision, or tell the model's owner"
        ) from None
    absent = sorted(set(shards) - set(available))
    if unsafe or absent or not shards:
        raise ModelError(
            f"{_INDEX} names weights that are not there as safetensors: {', '.join(unsafe or absent) or 'none at all'}",
            fix="choose another revision, or tell the model's owner",
        )
    return shards


def split_files(task: str, available: Iterable[str]) -> list[str]:
    """Return the paths of a task's three splits in a repository laid out like GUE.

    Raises:
        DataError: a split is missing; the message names it, or the tasks there are if all three are.
    """
    paths = [f"GUE/{task}/{split}.csv" for split in _SPLITS]
    present = set(available)
    absent = [path for path in paths if path not in present]
    if len(absent) == len(paths):
        tasks = sorted({path.split("/")[1] for path in present if re.fullmatch(r"GUE/[^/]+/train\.csv", path)})
        raise DataError(
            f"the repository has no task {task!r}: {', '.join(paths)} are missing",
            fix=f"choose one of: {', '.join(tasks)}" if tasks else "name a repository laid out like GUE",
        )
    if absent:
        raise DataError(
            f"the repository lacks {', '.join(absent)}",
            fix="choose another revision, or bring the three files as a `directory` source",
        )
    return paths


def _repository(name: str, kind: str, revision: str, endpoint: str | None, token_allowed: bool) -> _Repository:
    """Check what can be checked without a network.

    Raises:
        DownloadError: a name, revision, address or token that cannot be one.
    """
    # Read now: the client reads the variable when it is imported, and takes an empty one for an address.
    address = endpoint or os.environ.get("HF_ENDPOINT") or constants.HUGGINGFACE_CO_URL_HOME
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise DownloadError(
            "the hub's address is not one", where="HF_ENDPOINT", fix="give it as https://host, or unset it"
        )
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise DownloadError(f"{name!r} is not the name of a {kind} repository", fix="write owner/name") from None
    # What git refuses in a name; the name also becomes a path in the cache.
    if not re.fullmatch(r"[^\s/~^:?*\[\\]+(/[^\s/~^:?*\[\\]+)*", revision) or ".." in revision:
        raise DownloadError(
            f"{revision!r} is not a revision", where=name, fix="give a branch, a tag or a 40-digit commit"
        )
    return _Repository(name, kind, revision, address.rstrip("/"), token_allowed)


def _resolve(repository: _Repository) -> _Snapshot:
    """Resolve the revision to a commit and list its files, on the hub or, offline, in the cache."""
    return _resolve_cached(repository) if constants.is_offline_mode() else _resolve_online(repository)


def _resolve_online(repository: _Repository) -> _Snapshot:
    _check_environment(repository)
    api = HfApi(endpoint=repository.endpoint, token=repository.token, library_name="dnatune")
    try:
        info = _patiently(
            lambda: api.repo_info(
                repository.name,
                repo_type=repository.kind,
                revision=repository.revision,
                files_metadata=True,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        )
        commit = info.sha
        files = {
            sibling.rfilename: _File(
                sibling.rfilename,
                sibling.lfs.size if sibling.lfs else sibling.size,
                sibling.lfs.sha256 if sibling.lfs else sibling.blob_id,
            )
            for sibling in info.siblings or ()
        }
    except HTTPError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):  # an answer that is no JSON, or not the hub's
        commit, files = None, {}
    if not commit or not _COMMIT.fullmatch(commit):
        raise DownloadError(
            "the answer is not a model hub's",
            where=str(repository),
            fix="check HF_ENDPOINT, and that no proxy or log-in page of the network stands in between",
        )
    if _COMMIT.fullmatch(repository.revision) and commit != repository.revision:
        raise DownloadError(
            f"asked for a commit, the hub answered with another: {commit}",
            where=str(repository),
            fix="use another mirror",
        )
    return _Snapshot(repository, commit, files, offline=False)


def _resolve_cached(repository: _Repository) -> _Snapshot:
    commit = repository.revision
    if not _COMMIT.fullmatch(commit):
        reference = repository.storage / "refs" / repository.revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else ""
    snapshot = _Snapshot(repository, commit, {}, offline=True)
    if not commit or not snapshot.folder.is_dir():
        raise _not_cached(repository, f"revision {repository.revision} of {repository.name}")
    for path in sorted(snapshot.folder.rglob("*")):
        if path.is_file():
            # One step of the link: the blob there has the hash for its name, what lies behind may not.
            name = path.readlink().name if path.is_symlink() else ""
            file = _File(
                path.relative_to(snapshot.folder).as_posix(),
                path.stat().st_size,
                name if _CONTENT_HASH.fullmatch(name) else None,
            )
            snapshot.files[file.path] = file
    return snapshot


def _choose(snapshot: _Snapshot, select: Callable[[Iterable[str]], list[str]]) -> list[str]:
    """Apply `select` to the snapshot's paths; offline, what is missing is missing from the cache."""
    try:
        return select(snapshot.files)
    except DnatuneError as error:
        if snapshot.offline:
            raise _not_cached(snapshot.repository, f"all of {snapshot.repository.name} ({error.what})") from None
        error.where = str(snapshot.repository)
        raise


def _fetch(snapshot: _Snapshot, name: str) -> tuple[Path, str]:
    """Return a verified file of the cache, downloaded if need be, and its SHA-256."""
    file, repository = snapshot.files[name], snapshot.repository
    if snapshot.offline:
        path = snapshot.folder / name
        sha256 = _sha256_if_whole(path, file)
        if sha256 is None:
            raise _not_cached(repository, f"{name} undamaged")
    else:
        if file.size is None or not _CONTENT_HASH.fullmatch(file.content_hash or ""):
            raise DownloadError(f"the hub gives no checksum of {name}", where=str(repository), fix="use another mirror")
        path = _blob(repository, file)
        lock = Path(constants.HF_HUB_CACHE) / ".locks" / repository.storage.name / f"{file.content_hash}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The client's own lock. Where a file system ignores locks two writers may garble a partial file; the
        # checksum catches that.
        with WeakFileLock(lock):
            sha256 = _sha256_if_whole(path, file) or _download(snapshot, file, path)
    if is_lfs_pointer(path):
        raise DownloadError(
            f"{name} is a git-lfs pointer: its content was never uploaded to the repository",
            where=str(repository),
            fix="choose another revision, or tell the repository's owner",
        )
    return path, sha256


def _blob(repository: _Repository, file: _File) -> Path:
    return repository.storage / "blobs" / str(file.content_hash)


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.dnatune-partial")


def _download(snapshot: _Snapshot, file: _File, blob: Path) -> str:
    """Download `file` to `blob`, continuing what an earlier run left, and return its SHA-256.

    What arrived stays for the next run unless it cannot be the beginning of the right content.
    """
    partial = _partial(blob)
    continued = _size(partial) > 0
    _transfer(snapshot, file, partial)
    sha256 = _sha256_if_whole(partial, file)
    if sha256 is None and continued and _size(partial) >= file.size:
        partial.unlink()  # the earlier run's part may be to blame: once more, from the start
        _transfer(snapshot, file, partial)
        sha256 = _sha256_if_whole(partial, file)
    if sha256 is None:
        size, pointer = _size(partial), is_lfs_pointer(partial)
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
        raise DownloadError(what, where=str(snapshot.repository), fix=fix)
    # A link to the client's store of shared blobs is replaced, never written through.
    partial.replace(blob)
    return sha256


def _transfer(snapshot: _Snapshot, file: _File, partial: Path) -> None:
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
    if _size(partial) > file.size:
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
        _patiently(get, broken_connections=False)
    except OSError as error:
        if error.errno is not None or isinstance(error, HfHubHTTPError):
            raise
        # The client's check of the size; the caller looks closer.


def _patiently(call: Callable[[], _Answer], *, broken_connections: bool = True) -> _Answer:
    """Call again after a server error (5xx) and, if wanted, after a connection that failed."""
    for wait in (*_WAITS, None):
        try:
            return call()
        except HTTPError as error:
            passing = error.response.status_code >= 500 if isinstance(error, HfHubHTTPError) else broken_connections
            if wait is None or not passing:
                raise
            time.sleep(wait)
    raise AssertionError("unreachable")


def _sha256_if_whole(path: Path, file: _File) -> str | None:
    """Return the SHA-256 of `path` if it has the file's size and content, else None."""
    if not path.is_file() or path.stat().st_size != file.size:
        return None
    sha256 = sha256_of_file(path)
    if file.content_hash is None or file.content_hash == sha256:
        return sha256
    by_git = len(file.content_hash) == 40 and git_hash(path.read_bytes()) == file.content_hash
    return sha256 if by_git else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _require_space(snapshot: _Snapshot, names: Iterable[str], destination: Path) -> None:
    """Refuse at once what cannot fit, rather than after hours.

    Raises:
        DownloadError: the cache's or the destination's file system has too little room.
    """
    cache, folder = _existing(snapshot.repository.storage), _existing(destination.parent)
    files = [snapshot.files[name] for name in names]
    downloads = 0
    if not snapshot.offline:
        blobs = [(file.size or 0, _blob(snapshot.repository, file)) for file in files]
        downloads = sum(max(size - _size(_partial(blob)), 0) for size, blob in blobs if not blob.exists())
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


def _publish(snapshot: _Snapshot, fetched: dict[str, tuple[Path, str]], destination: Path) -> dict[str, Any]:
    """Put verified files and their manifest at `destination`, and return the manifest."""
    if not snapshot.offline:
        _complete_cache(snapshot, fetched)
    manifest = {
        "source": "hub",
        "origin": snapshot.repository.name,
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


def _complete_cache(snapshot: _Snapshot, names: Iterable[str]) -> None:
    """Link the files into the client's cache as a snapshot, and note which commit the revision means."""
    for name in names:
        blob, link = _blob(snapshot.repository, snapshot.files[name]), snapshot.folder / name
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


def _check_environment(repository: _Repository) -> None:
    """Meet settings that no connection can be made with before the HTTP library does, at its own many places.

    Raises:
        DownloadError: the address, a proxy, a certificate file or the token cannot be used.
    """
    try:
        get_session().build_request("HEAD", repository.endpoint)
    except Exception as error:  # of many types: ImportError for a SOCKS proxy, ValueError, OSError, InvalidURL
        raise DownloadError(
            f"the network settings cannot be used ({type(error).__name__}: {error})",
            where="HF_ENDPOINT, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE",
            fix="put right the variable that is wrong",
        ) from None
    token = get_token() if repository.token_allowed else None
    if token and not re.fullmatch(r"[!-~]+", token):  # the library's own complaint would show it
        raise DownloadError(
            "the access token holds characters that no token has",
            where="HF_TOKEN or the stored log-in",
            fix="copy it again",
        )


def _not_cached(repository: _Repository, what: str) -> DownloadError:
    return DownloadError(
        f"HF_HUB_OFFLINE is set and the cache does not hold {what}",
        where=str(repository.storage),
        fix="run the download on a machine with network first (a log-in node, HF_HUB_OFFLINE unset) with the "
        "same HF_HOME; or unset HF_HUB_OFFLINE",
    )


@contextlib.contextmanager
def _told_plainly(repository: _Repository) -> Iterator[None]:
    """Turn what the client, its HTTP library and the disk raise into one message each.

    None of it quotes what a server sent: that could hold anything, the token included.
    """
    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(repository, error) from None
    except HTTPError as error:
        raise DownloadError(
            f"the hub cannot be reached ({type(error).__name__}: {error})",
            where=str(repository),
            fix="check the network and the proxy; behind a firewall set HF_ENDPOINT to a mirror; what was "
            "downloaded before can be used with HF_HUB_OFFLINE=1. A download that broke off is continued",
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DownloadError(
            "the disk is full, or your quota is" if full else f"the disk refused: {error.strerror or error}",
            where=str(error.filename2 or error.filename or repository.storage),
            fix="make room, or set HF_HOME to a larger disk; a download that broke off is continued"
            if full
            else "check that the cache (HF_HOME) and the results folder can be written",
        ) from None
    except ValueError as error:  # the client's: a file that it does not fetch in this way
        raise DownloadError(f"the hub's client refused: {error}", where=str(repository)) from None


def _refusal(repository: _Repository, error: HfHubHTTPError) -> DownloadError:
    """Say what an HTTP error status means."""
    status = error.response.status_code
    login = (
        "set HF_TOKEN to a token that may read it (it is never shown)"
        if repository.token_allowed
        else "allow the token to be sent to this hub, and set HF_TOKEN"
    )
    match error:
        case GatedRepoError():
            what = "the repository is gated, and access has not been granted"
            folder = "datasets/" if repository.kind == "dataset" else ""
            fix = f"accept its terms at {repository.host}/{folder}{repository.name}, then {login}"
        case RevisionNotFoundError():
            what = f"there is no revision {repository.revision}"
            fix = "give a branch, a tag or a 40-digit commit that the repository has"
        case RemoteEntryNotFoundError():
            what = "the hub lists a file that it does not have"
            fix = "run it again; if it stays, use another mirror"
        case DisabledRepoError():
            what = "the hub has disabled the repository"
            fix = "choose another"
        case RepositoryNotFoundError():
            what = f"there is no {repository.kind} {repository.name}, or it is private"
            fix = f"check the name (owner/name); if it is private, {login}"
        case _ if status in (401, 403):
            what = f"the hub refuses access (HTTP {status})"
            fix = f"{login}; if it is set, see whether it has expired"
        case _ if status == 429:
            what = "the hub has had too many requests from here (HTTP 429)"
            fix = f"wait some minutes and run it again; {login} for a larger allowance"
        case _ if status >= 500:
            what = f"the hub is out of order (HTTP {status})"
            fix = "run it again later, or set HF_ENDPOINT to a mirror; a download that broke off is continued"
        case _:
            what = f"the hub answers HTTP {status}"
            fix = "check HF_ENDPOINT, the name and the revision"
    return DownloadError(what, where=str(repository), fix=fix)
