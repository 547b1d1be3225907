"""A model hub on 127.0.0.1, with the part of the protocol that the real client needs, and with faults of hubs."""

import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from hub_uploads import Uploads, UploadsHandler


@dataclass
class Request:
    """A client's request; the names of the headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Repository:
    """A repository: files by commit, branches and tags, and who may read it."""

    commits: dict[str, dict[str, bytes]]
    references: dict[str, str]
    lfs: tuple[str, ...] = (".safetensors", ".bin", ".csv")
    token: str | None = None  # the one that may read it; None: everybody
    gated: bool = False
    private: bool = False


@dataclass
class Hub:
    """The server's state, which tests change between requests; the keys of the fault tables are paths of files."""

    endpoint: str = ""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    #: Every request is answered with this status.
    status: int | None = None
    #: The API's answer, word for word.
    information: bytes | None = None
    #: HTTP statuses with which a file's next requests are answered.
    statuses: dict[str, list[int]] = field(default_factory=dict)
    #: The connection breaks before this byte of the file, at each request: "cut" closes it, "reset" resets.
    broken: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Content delivered in place of the right one.
    replaced: dict[str, bytes] = field(default_factory=dict)
    #: Whether Range headers are honoured.
    ranges: bool = True
    #: Where files of git-lfs are redirected to.
    storage: "Hub | None" = None
    #: Send the listing without sizes and hashes.
    bare_listing: bool = False
    #: Holds a file's answer half-way until it is set.
    stalled: dict[str, threading.Event] = field(default_factory=dict)
    uploads: Uploads = field(default_factory=Uploads)

    def of_file(self, name: str, method: str = "GET") -> list[Request]:
        """Return the requests for a file's content."""
        return [
            request
            for request in self.requests
            if request.method == method and request.path.split("?")[0].endswith(f"/{name}")
        ]


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def pointer(content: bytes) -> bytes:
    """Return the git-lfs pointer for a content."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


class _Handler(UploadsHandler, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a small body waits 40 ms for the acknowledgement of its header
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(content=False)

    def do_GET(self) -> None:
        self._answer(content=True)

    def _answer(self, content: bool) -> None:
        path = self._noted()
        if self.hub.status:
            # A hub of the worst kind: it repeats the caller's secrets.
            self._error(self.hub.status, message=f"denied: {self.headers.get('Authorization')}")
        elif path.startswith("api/"):
            self._api(path.removeprefix("api/"), content)
        elif path.startswith("storage/"):
            self._file(path.removeprefix("storage/"), content)
        else:
            self._resolve(path, content)

    def _noted(self) -> str:
        """Note the request down; return its path."""
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, self.path, headers))
        return unquote(urlsplit(self.path).path).strip("/")

    def _allowed(self, kind: str, name: str) -> Repository | None:
        repository = self.hub.repositories.get((kind, name))
        wanted = f"Bearer {repository.token}" if repository and repository.token else None
        if repository is None or (wanted and self.headers.get("Authorization") != wanted):
            self._error(401, "RepoNotFound", "Repository not found")
            return None
        return repository

    def _api(self, path: str, content: bool) -> None:
        kind, _, rest = path.partition("s/")
        name, _, revision = rest.partition("/revision/")
        if "/tree/" in rest:
            name, _, revision = rest.partition("/tree/")
        if self.hub.information is not None:
            self._send(200, self.hub.information, content, {"Content-Type": "text/html"})
            return
        repository = self._allowed(kind, name)
        if repository is None:
            return
        commit = repository.references.get(revision or "main", revision)
        if commit not in repository.commits:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = repository.commits[commit].items()
        if "/tree/" in rest:
            answer: object = [self._tree_entry(repository, file, data) for file, data in files]
        else:
            siblings = [self._sibling(repository, file, data) for file, data in files]
            answer = {"id": name, "sha": commit, "private": repository.private, "siblings": siblings}
        self._send(200, json.dumps(answer).encode(), content, {"Content-Type": "application/json"})

    def _sibling(self, repository: Repository, file: str, data: bytes) -> dict:
        if self.hub.bare_listing:
            return {"rfilename": file}
        if not file.endswith(repository.lfs):
            return {"rfilename": file, "size": len(data), "blobId": git_hash(data)}
        lfs = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "pointerSize": len(pointer(data)),
        }
        return {"rfilename": file, "size": len(data), "blobId": git_hash(pointer(data)), "lfs": lfs}

    def _tree_entry(self, repository: Repository, file: str, data: bytes) -> dict:
        sibling = self._sibling(repository, file, data)
        entry = {"type": "file", "path": file, "size": len(data), "oid": sibling["blobId"]}
        if "lfs" in sibling:
            entry["lfs"] = {**sibling["lfs"], "oid": sibling["lfs"]["sha256"]}
        return entry

    def _resolve(self, path: str, content: bool) -> None:
        """Respond to `[datasets/]<owner>/<name>/resolve/<revision>/<file>`."""
        kind = "dataset" if path.startswith("datasets/") else "model"
        name, _, rest = path.removeprefix("datasets/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repository = self._allowed(kind, name)
        if repository is None:
            return
        if repository.gated:
            self._error(403, "GatedRepo", "Access to this model is restricted")
            return
        commit = repository.references.get(revision, revision)
        data = repository.commits.get(commit, {}).get(file)
        if data is None:
            self._error(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_hash(data)}"'}
        if file.endswith(repository.lfs):
            headers["ETag"] = headers["X-Linked-Etag"] = f'"{hashlib.sha256(data).hexdigest()}"'
            headers["X-Linked-Size"] = str(len(data))
            if self.hub.storage:
                headers["Location"] = f"{self.hub.storage.endpoint}/storage/{kind}/{name}/{commit}/{file}"
                self._send(302, b"", content, headers)
                return
        self._deliver(file, data, content, headers)

    def _file(self, path: str, content: bool) -> None:
        """Respond as the storage of a hub does, without authentication."""
        kind, owner, name, commit, file = path.split("/", 4)
        data = self.hub.repositories[kind, f"{owner}/{name}"].commits[commit][file]
        self._deliver(file, data, content, {"ETag": '"of-the-storage"'})

    def _deliver(self, file: str, data: bytes, content: bool, headers: dict[str, str]) -> None:
        if content and self.hub.statuses.get(file):
            self._error(self.hub.statuses[file].pop(0))
            return
        data = self.hub.replaced.get(file, data)
        start, status = 0, 200
        if self.hub.ranges and (wanted := self.headers.get("Range")):
            start, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(data):
                self._error(416)
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        if file in self.hub.stalled and content:
            middle = start + (len(data) - start) // 2
            self._head(status, len(data) - start, headers)
            self.wfile.write(data[start:middle])
            self.hub.stalled[file].wait(timeout=20)
            with contextlib.suppress(OSError):  # the client may be gone
                self.wfile.write(data[middle:])
            return
        if file in self.hub.broken and content:
            end, manner = self.hub.broken[file]
            self._head(status, len(data) - start, headers)
            self.wfile.write(data[start : max(start, end)])
            self.close_connection = True
            if manner == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
            else:
                self.connection.shutdown(socket.SHUT_WR)
            return
        self._send(status, data[start:], content, headers)

    def _error(self, status: int, code: str | None = None, message: str = "") -> None:
        headers = {"X-Error-Message": message} if message else {}
        if code:
            headers["X-Error-Code"] = code
        self._send(status, json.dumps({"error": message}).encode(), self.command != "HEAD", headers)

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, status: int, data: bytes, content: bool, headers: dict[str, str]) -> None:
        self._head(status, len(data), headers)
        if content:
            self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a stalled answer must not hold up the end of a test

    def handle_error(self, *_: object) -> None:
        pass  # a client that goes away in the middle is part of the tests


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub on a free port of 127.0.0.1 until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = _Server(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
