"""What the client, its HTTP library and the disk raise, told plainly."""

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


def _refusal(repository: Repository, error: HfHubHTTPError) -> DownloadError:
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
