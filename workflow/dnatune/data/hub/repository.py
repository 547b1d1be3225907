"""A repository at a revision, and the commit and files to which the revision is resolved.

The hub resolves the revision; offline, the cache does. Requests are repeated after errors that are usually temporary.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # the base class of the HTTP library that the client is built on
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.hf_api import DatasetInfo, ModelInfo
from huggingface_hub.utils import get_session, validate_repo_id

from dnatune.errors import DownloadError

#: Git's blob SHA-1, or git-lfs's SHA-256.
CONTENT_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
#: Seconds to wait before a request is repeated after a server error or a broken connection. They are short, because a
#: batch system repeats the whole job, and a user should soon see that a hub cannot be reached.
_WAITS = (1.0, 3.0)

RepoInfo: TypeAlias = ModelInfo | DatasetInfo

_Response = TypeVar("_Response")


@dataclass(frozen=True)
class Repository:
    """A repository at a revision, the hub that has it, and its folder in the client's cache."""

    name: str
    kind: str  # "model" or "dataset"
    revision: str
    endpoint: str
    token_allowed: bool

    @classmethod
    def checked(cls, name: str, kind: str, revision: str, endpoint: str | None, token_allowed: bool) -> Self:
        """Return the repository after checking everything that can be checked without a network.

        Raises:
            DownloadError: the name, revision or address is malformed.
        """
        # Read here, because the client reads the variable when it is imported and accepts an empty value.
        address = endpoint or os.environ.get("HF_ENDPOINT") or constants.HUGGINGFACE_CO_URL_HOME
        try:
            parts = urlsplit(address)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise DownloadError(
                "the hub's address is malformed", where="HF_ENDPOINT", fix="write it as https://host, or unset it"
            )
        try:
            validate_repo_id(name)
        except HFValidationError:
            raise DownloadError(f"{name!r} is not the name of a {kind} repository", fix="write owner/name") from None
        # git rejects such names, and the name becomes a path in the cache.
        if not re.fullmatch(r"[^\s/~^:?*\[\\]+(/[^\s/~^:?*\[\\]+)*", revision) or ".." in revision:
            raise DownloadError(
                f"{revision!r} is not a revision", where=name, fix="give a branch, a tag or a 40-digit commit"
            )
        return cls(name, kind, revision, address.rstrip("/"), token_allowed)

    def __str__(self) -> str:
        """Return a description for error messages."""
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
class File:
    """A file of a commit: path in the repository, size in bytes, and the hash that names its content.

    The hash is the SHA-256 for a file in git-lfs, and git's blob SHA-1 for other files. A cached file has no hash on
    a file system without symbolic links, where the cache does not keep it. An incomplete mirror may give neither size
    nor hash.
    """

    path: str
    size: int | None
    content_hash: str | None


@dataclass(frozen=True)
class Snapshot:
    """A resolved commit and its files by path; `offline` is true if only the cache was used."""

    repository: Repository
    commit: str
    files: dict[str, File]
    offline: bool

    @property
    def folder(self) -> Path:
        """The snapshot's folder in the client's cache."""
        return self.repository.storage / "snapshots" / self.commit

    def blob(self, file: File) -> Path:
        """Return the path of a file's content in the cache."""
        return self.repository.storage / "blobs" / str(file.content_hash)


def resolve(repository: Repository) -> Snapshot:
    """Resolve the revision to a commit and list its files, with the hub or, offline, with the cache."""
    return _resolve_cached(repository) if constants.is_offline_mode() else _resolve_online(repository)


def _resolve_online(repository: Repository) -> Snapshot:
    check_environment(repository)
    api = HfApi(endpoint=repository.endpoint, token=repository.token, library_name="dnatune")
    try:
        info = with_retries(lambda: information(api, repository))
        commit, files = info.sha, files_of(info)
    except HTTPError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):  # the response is not JSON, or not from a hub
        commit, files = None, {}
    if not commit or not _COMMIT.fullmatch(commit):
        raise DownloadError(
            "the response is not from a model hub",
            where=str(repository),
            fix="check HF_ENDPOINT, and whether a proxy or a log-in page of the network intercepts the request",
        )
    if _COMMIT.fullmatch(repository.revision) and commit != repository.revision:
        raise DownloadError(
            f"the hub returned another commit than the one requested: {commit}",
            where=str(repository),
            fix="use another mirror",
        )
    return Snapshot(repository, commit, files, offline=False)


def information(api: HfApi, repository: Repository) -> RepoInfo:
    """Return what the hub says of a repository at its revision, with sizes and hashes of the files."""
    return api.repo_info(
        repository.name,
        repo_type=repository.kind,
        revision=repository.revision,
        files_metadata=True,
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
    )


def files_of(info: RepoInfo) -> dict[str, File]:
    """Return the files that the hub lists, by path."""
    return {
        sibling.rfilename: File(
            sibling.rfilename,
            sibling.lfs.size if sibling.lfs else sibling.size,
            sibling.lfs.sha256 if sibling.lfs else sibling.blob_id,
        )
        for sibling in info.siblings or ()
    }


def _resolve_cached(repository: Repository) -> Snapshot:
    commit = repository.revision
    if not _COMMIT.fullmatch(commit):
        reference = repository.storage / "refs" / repository.revision
        commit = reference.read_text("utf-8").strip() if reference.is_file() else ""
    snapshot = Snapshot(repository, commit, {}, offline=True)
    if not commit or not snapshot.folder.is_dir():
        raise not_cached(repository, f"revision {repository.revision} of {repository.name}")
    for path in sorted(snapshot.folder.rglob("*")):
        if path.is_file():
            # Follow one step of the link only: the blob's name is the hash, but further links may have other names.
            name = path.readlink().name if path.is_symlink() else ""
            file = File(
                path.relative_to(snapshot.folder).as_posix(),
                path.stat().st_size,
                name if CONTENT_HASH.fullmatch(name) else None,
            )
            snapshot.files[file.path] = file
    return snapshot


def check_environment(repository: Repository) -> None:
    """Check the network settings first, because the HTTP library would fail with them in many different ways.

    Raises:
        DownloadError: the address, a proxy, a certificate file or the token is not usable.
    """
    try:
        get_session().build_request("HEAD", repository.endpoint)
    except Exception as error:  # of many types: ImportError for a SOCKS proxy, ValueError, OSError, InvalidURL
        raise DownloadError(
            f"the network settings cannot be used ({type(error).__name__}: {error})",
            where="HF_ENDPOINT, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE",
            fix="correct the variable that is wrong",
        ) from None
    token = get_token() if repository.token_allowed else None
    if token and not re.fullmatch(r"[!-~]+", token):  # the library's own error message would show it
        raise DownloadError(
            "the access token contains characters that a token cannot have",
            where="HF_TOKEN or the stored log-in",
            fix="copy it again",
        )


def not_cached(repository: Repository, what: str) -> DownloadError:
    """Return the error of an offline run for which the cache lacks something."""
    return DownloadError(
        f"HF_HUB_OFFLINE is set, but the cache does not hold {what}",
        where=str(repository.storage),
        fix="first run the download with the same HF_HOME on a machine with a network (a log-in node, with "
        "HF_HUB_OFFLINE unset); or unset HF_HUB_OFFLINE",
    )


def with_retries(call: Callable[[], _Response], *, broken_connections: bool = True) -> _Response:
    """Call, and repeat the call after a server error (5xx) and, if wanted, after a broken connection."""
    for wait in _WAITS:
        try:
            return call()
        except HTTPError as error:
            passing = error.response.status_code >= 500 if isinstance(error, HfHubHTTPError) else broken_connections
            if not passing:
                raise
            time.sleep(wait)
    return call()
