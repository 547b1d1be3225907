"""Explains errors of the hub's client, its HTTP library and the disk."""

import contextlib
import errno
from collections.abc import Iterator

from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dnatune.data.hub.repository import Repository
from dnatune.errors import DownloadError


@contextlib.contextmanager
def explain_hub_errors(repository: Repository) -> Iterator[None]:
    """Replace errors of the client, its HTTP library and the disk by a DownloadError with a clear message.

    No message quotes what a server sent, because that could contain anything, including the token.
    """
    try:
        yield
    except HfHubHTTPError as error:
        raise _refusal(repository, error) from None
    except HTTPError as error:
        raise DownloadError(
            f"the hub cannot be reached ({type(error).__name__}: {error})",
            where=str(repository),
            fix="check the network and the proxy; behind a firewall, set HF_ENDPOINT to a mirror; files that were "
            "downloaded before can be used with HF_HUB_OFFLINE=1. An interrupted download is continued",
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DownloadError(
            "the disk is full, or your quota is used up" if full else f"disk error: {error.strerror or error}",
            where=str(error.filename2 or error.filename or repository.storage),
            fix="make room, or set HF_HOME to a larger disk; an interrupted download is continued"
            if full
            else "check that the cache (HF_HOME) and the results folder are writable",
        ) from None
    except ValueError as error:  # from the client, for a file that it cannot fetch with http_get
        raise DownloadError(f"the hub's client failed: {error}", where=str(repository)) from None


def _refusal(repository: Repository, error: HfHubHTTPError) -> DownloadError:
    """Return an error that explains an HTTP status."""
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
            what = f"the repository has no revision {repository.revision}"
            fix = "give a branch, a tag or a 40-digit commit of the repository"
        case RemoteEntryNotFoundError():
            what = "the hub lists a file that it does not have"
            fix = "run the command again; if the error remains, use another mirror"
        case DisabledRepoError():
            what = "the hub has disabled the repository"
            fix = "choose another repository"
        case RepositoryNotFoundError():
            what = f"there is no {repository.kind} {repository.name}, or it is private"
            fix = f"check the name (owner/name); if it is private, {login}"
        case _ if status in (401, 403):
            what = f"the hub refuses access (HTTP {status})"
            fix = f"{login}; if it is set, check whether it has expired"
        case _ if status == 429:
            what = "the hub has received too many requests from this address (HTTP 429)"
            fix = f"wait some minutes and run the command again; for a higher limit, {login}"
        case _ if status >= 500:
            what = f"the hub has an internal error (HTTP {status})"
            fix = "run the command again later, or set HF_ENDPOINT to a mirror; an interrupted download is continued"
        case _:
            what = f"the hub returned HTTP {status}"
            fix = "check HF_ENDPOINT, the name and the revision"
    return DownloadError(what, where=str(repository), fix=fix)
