"""Asking again after what usually passes."""

import time
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub.errors import (
    HfHubHTTPError,
    HTTPError,  # the base class of the HTTP library that the client is built on
)

#: Seconds to wait before asking again after a server error or a broken connection. Few and short: a batch
#: system repeats the whole job, and that a hub cannot be reached should be said while the user still looks.
_WAITS = (1.0, 3.0)

_Answer = TypeVar("_Answer")


def with_retries(call: Callable[[], _Answer], *, broken_connections: bool = True) -> _Answer:
    """Call again after a server error (5xx) and, if wanted, after a connection that failed."""
    for wait in _WAITS:
        try:
            return call()
        except HTTPError as error:
            passing = error.response.status_code >= 500 if isinstance(error, HfHubHTTPError) else broken_connections
            if not passing:
                raise
            time.sleep(wait)
    return call()
