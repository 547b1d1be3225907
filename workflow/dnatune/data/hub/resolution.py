"""Which commit a revision means and which files it has, asked of the hub or, offline, of the cache."""

import re

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import get_session

from dnatune.data.hub.refusals import not_cached
from dnatune.data.hub.repository import CONTENT_HASH, File, Repository, Snapshot
from dnatune.data.hub.retries import with_retries
from dnatune.errors import DownloadError

_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(repository: Repository) -> Snapshot:
    """Resolve the revision to a commit and list its files, on the hub or, offline, in the cache."""
    return _resolve_cached(repository) if constants.is_offline_mode() else _resolve_online(repository)


def _resolve_online(repository: Repository) -> Snapshot:
    _check_environment(repository)
    api = HfApi(endpoint=repository.endpoint, token=repository.token, library_name="dnatune")
    try:
        info = with_retries(
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
            sibling.rfilename: File(
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
    return Snapshot(repository, commit, files, offline=False)


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
            # One step of the link: the blob there has the hash for its name, what lies behind may not.
            name = path.readlink().name if path.is_symlink() else ""
            file = File(
                path.relative_to(snapshot.folder).as_posix(),
                path.stat().st_size,
                name if CONTENT_HASH.fullmatch(name) else None,
            )
            snapshot.files[file.path] = file
    return snapshot


def _check_environment(repository: Repository) -> None:
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
