"""What is asked for: a repository at a revision, and the commit and files that the revision turns out to mean."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id

from dnatune.errors import DownloadError

#: Git's blob SHA-1, or the SHA-256 of git-lfs.
CONTENT_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Repository:
    """What was asked for, where it is fetched from and where the client caches it."""

    name: str
    kind: str  # "model" or "dataset"
    revision: str
    endpoint: str
    token_allowed: bool

    @classmethod
    def checked(cls, name: str, kind: str, revision: str, endpoint: str | None, token_allowed: bool) -> Self:
        """Return the repository, if nothing is wrong with it that can be seen without a network.

        Raises:
            DownloadError: a name, revision or address that cannot be one.
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
        return cls(name, kind, revision, address.rstrip("/"), token_allowed)

    def __str__(self) -> str:
        """Say in an error message what was asked for."""
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

    The hash is the SHA-256 of a file stored by git-lfs and git's blob SHA-1 of any other. A cached file has none
    on a file system without symbolic links, where the cache does not keep it; a poor mirror may give neither.
    """

    path: str
    size: int | None
    content_hash: str | None


@dataclass(frozen=True)
class Snapshot:
    """A resolved commit and its files by path; `offline` says that only the cache was asked."""

    repository: Repository
    commit: str
    files: dict[str, File]
    offline: bool

    @property
    def folder(self) -> Path:
        """Its folder in the client's cache."""
        return self.repository.storage / "snapshots" / self.commit

    def blob(self, file: File) -> Path:
        """Return where the cache keeps a file's content."""
        return self.repository.storage / "blobs" / str(file.content_hash)
