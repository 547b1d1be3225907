"""Fill the cache of the RO-Crate validator with the contexts beside this file, as if it had fetched them.

Run by the interpreter of .venv-checks, which has the validator:  python context_cache.py CACHE
"""

import io
import sys
from pathlib import Path

import requests
from requests.adapters import BaseAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

_FOLDER = Path(__file__).with_name("contexts")
_CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": _FOLDER / "ro-crate-1.1.jsonld",
    "https://w3id.org/ro/terms/workflow-run/context": _FOLDER / "workflow-run.jsonld",
}


class FromDisk(BaseAdapter):
    """Answers requests with files."""

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        content, headers = _CONTEXTS[request.url].read_bytes(), {"Content-Type": "application/ld+json"}
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url, request
        response.headers.update(headers)
        response.raw = HTTPResponse(io.BytesIO(content), headers=headers, status=200, preload_content=False)
        return response

    def close(self) -> None:
        """Nothing is open."""


if __name__ == "__main__":
    # As the validator opens its cache.
    session = CachedSession(cache_name=sys.argv[1], backend="sqlite", expire_after=-1, allowable_methods=("GET",))
    session.mount("https://w3id.org/", FromDisk())
    for address in _CONTEXTS:
        session.get(address).raise_for_status()
