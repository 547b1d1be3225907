"""The part of a hub that takes uploads: repositories, branches, files of git-lfs, commits."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass
class Uploads:
    """What a hub knows of uploads, which tests change between requests."""

    #: The token that may write; None: nobody may.
    writer: str | None = None
    #: Owners of repositories that it may write to.
    owners: tuple[str, ...] = ("lab",)
    #: Contents of git-lfs by their SHA-256, whether a commit has them or not.
    objects: dict[str, bytes] = field(default_factory=dict)
    #: Statuses with which requests are answered, by a part of their path.
    refused: dict[str, int] = field(default_factory=dict)
    #: So many of the next large files end half-way: the connection closes, and nothing is kept.
    cut: int = 0
    #: Bytes of large files that came in.
    received: int = 0
    #: Set once, another writer commits before the next commit.
    overtaken: bool = False
    #: Content that the hub keeps in place of what a commit brings, by path.
    kept_instead: dict[str, bytes] = field(default_factory=dict)


class UploadsHandler(BaseHTTPRequestHandler):
    """Answers to POST and PUT; the class that derives from it has `hub` and `_noted`, `_send` and `_error`."""

    def do_POST(self) -> None:
        path, body = self._begin()
        if self._is_refused(path):
            return
        if path == "api/repos/create":
            self._create(json.loads(body))
        elif path == "api/validate-yaml":
            self._answer_json({"errors": [], "warnings": []})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        else:
            owner, name, action, revision = path.removeprefix("api/models/").split("/", 3)
            self.named = f"{owner}/{name}"
            repository = self.hub.repositories.get(("model", self.named))
            if repository is None:
                self._error(404, "RepoNotFound", "Repository not found")
                return
            {"preupload": self._preupload, "commit": self._commit, "branch": self._branch}[action](
                repository, revision, body
            )

    def do_PUT(self) -> None:
        uploads, size = self.hub.uploads, int(self.headers["Content-Length"])
        if uploads.cut:
            uploads.cut -= 1
            uploads.received += len(self.rfile.read(size // 2))
            self.close_connection = True
            self.connection.shutdown(2)
            return
        path, body = self._begin()
        uploads.received += len(body)
        if self._is_refused(path, signed=True):
            return
        digest = path.rpartition("/")[2]
        assert hashlib.sha256(body).hexdigest() == digest
        uploads.objects[digest] = body
        self._answer_json({})

    def _is_refused(self, path: str, signed: bool = False) -> bool:
        """Refuse what tests want refused, and who may not write; the address of a large file is permission itself."""
        uploads, said = self.hub.uploads, f"denied: {self.headers.get('Authorization')}"
        for part, status in uploads.refused.items():
            if part in path:
                self._error(status, message=said)
                return True
        if signed or self.headers.get("Authorization") == f"Bearer {uploads.writer}":
            return False
        self._error(401, message="Invalid credentials in Authorization header")
        return True

    def _create(self, wanted: dict[str, Any]) -> None:
        from hub_server import Repository

        name = f"{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] not in self.hub.uploads.owners:
            self._error(403, message=f"You don't have the rights: {self.headers.get('Authorization')}")
        elif ("model", name) in self.hub.repositories:
            self._error(409, message="You already created this model repo")
        else:
            first = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
            commit = _commit_of(first)
            private, token = wanted.get("visibility") == "private", self.hub.uploads.writer
            made = Repository({commit: first}, {"main": commit}, token=token if private else None, private=private)
            self.hub.repositories["model", name] = made
            self._answer_json({"url": f"{self.hub.endpoint}/{name}"})

    def _preupload(self, repository: Any, revision: str, body: bytes) -> None:
        files = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(repository.lfs) else "regular"}
            for file in json.loads(body)["files"]
        ]
        self._answer_json({"files": [{**file, "shouldIgnore": False} for file in files]})

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects = []
        for one in wanted["objects"]:
            action = {"upload": {"href": f"{self.hub.endpoint}/upload/{one['oid']}", "header": {}}}
            there = one["oid"] in self.hub.uploads.objects
            objects.append({**one} if there else {**one, "actions": action})
        self._answer_json({"transfer": "basic", "objects": objects})

    def _branch(self, repository: Any, revision: str, _: bytes) -> None:
        repository.references[revision] = repository.references["main"]
        self._answer_json({})

    def _commit(self, repository: Any, revision: str, body: bytes) -> None:
        uploads = self.hub.uploads
        if uploads.overtaken:
            uploads.overtaken = False
            self._add(repository, revision, {**self._files(repository, revision), "other.txt": b"faster"})
        files, parent = dict(self._files(repository, revision)), repository.references[revision]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "header" if value.get("parentCommit", parent) != parent:
                    self._error(412, message="A commit has happened since. Please refresh and try again.")
                    return
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = uploads.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        commit = self._add(repository, revision, files | uploads.kept_instead)
        self._answer_json({"commitUrl": f"{self.hub.endpoint}/{self.named}/commit/{commit}", "commitOid": commit})

    def _files(self, repository: Any, revision: str) -> dict[str, bytes]:
        return repository.commits[repository.references[revision]]

    def _add(self, repository: Any, revision: str, files: dict[str, bytes]) -> str:
        commit = _commit_of(files)
        repository.commits[commit] = files
        repository.references[revision] = commit
        return commit

    def _answer_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), True, {"Content-Type": "application/json"})

    def _begin(self) -> tuple[str, bytes]:
        """Note the request down; return its path and its body."""
        path = self._noted()
        length = self.headers.get("Content-Length")
        return path, self.rfile.read(int(length)) if length else b""


def _commit_of(files: dict[str, bytes]) -> str:
    listed = repr(sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files.items()))
    return hashlib.sha1(listed.encode(), usedforsecurity=False).hexdigest()
