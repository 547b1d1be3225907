"""Explains why a hub did not take a publication."""

import contextlib
from collections.abc import Iterator

from huggingface_hub.errors import HfHubHTTPError, HTTPError, RevisionNotFoundError

from dnatune.data.hub.repository import Repository
from dnatune.errors import DnatuneError
from dnatune.publication.errors import PublishError

_AGAIN = "type the same command again; what has arrived is not sent again, and readers see all files or none"


@contextlib.contextmanager
def explain_refusals(repository: Repository) -> Iterator[None]:
    """Replace errors of the hub's client, its HTTP library and the disk by a PublishError with a clear message.

    No message quotes what a server sent, because that could contain anything, including the token.
    """
    try:
        yield
    except DnatuneError:
        raise
    except Exception as error:
        cause: BaseException = error
        # The client hides the cause of an upload that failed behind an error without one.
        while isinstance(cause, RuntimeError) and cause.__cause__:
            cause = cause.__cause__
        what, fix = _explained(repository, cause)
        raise PublishError(what, where=str(repository), fix=fix) from None


def _explained(repository: Repository, error: BaseException) -> tuple[str, str]:
    """Return what happened and what to do."""
    match error:
        case HfHubHTTPError():
            return _of_status(repository, error)
        case HTTPError() | ConnectionError() | TimeoutError():
            check = "check the network, the proxy and HF_ENDPOINT"
            what = f"the hub cannot be reached, or the connection broke ({type(error).__name__})"
            return what, f"{check}; then {_AGAIN}"
        case OSError():
            return f"a file cannot be read: {error.strerror or type(error).__name__}", "see to the file and its disk"
        case ValueError() if "metadata" in str(error):
            return "the hub does not accept the front matter of the card", _CARD
        case _:
            # Its own text may quote the server.
            other = "if it happens again, set HF_HUB_DISABLE_XET=1, which sends files by another way"
            return f"the hub's client failed ({type(error).__name__})", f"{_AGAIN}; {other}"


_CARD = "look at it with --folder in place of --repository, and report it as a fault of dnatune"


def _of_status(repository: Repository, error: HfHubHTTPError) -> tuple[str, str]:
    """Return what an HTTP status means here, and what to do."""
    status, owner = error.response.status_code, repository.name.partition("/")[0]
    token = f"set HF_TOKEN to a token that may write to repositories of {owner} (it is never shown)"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no branch {repository.revision} (HTTP {status})", "check --revision"
    match status:
        case 401:
            return "the hub does not accept the token (HTTP 401)", f"{token}, or log in again with `hf auth login`"
        case 403:
            return "the token may not write there (HTTP 403)", token
        case 404:
            return (
                "the hub has no such repository or owner, or does not show it to this token (HTTP 404)",
                f"check --repository, and {token}",
            )
        case 409 | 412:
            return f"the repository was changed at the same time (HTTP {status})", _AGAIN
        case 402 | 413 | 507:
            return f"the hub has no room for the files (HTTP {status})", f"see the storage limits of {owner} on the hub"
        case 429:
            return "the hub has received too many requests (HTTP 429)", f"wait some minutes; then {_AGAIN}"
        case _ if status >= 500:
            return f"the hub has an internal error (HTTP {status})", f"wait some minutes; then {_AGAIN}"
        case _:
            return f"the hub returned HTTP {status}", "check HF_ENDPOINT and --repository"
