"""Publication to a repository of a model hub, in one commit, so that readers see all files or none."""

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from dnatune.data.hub.repository import File, Repository, check_environment, files_of, information, with_retries
from dnatune.data.integrity import MANIFEST
from dnatune.files import sha256_of_file
from dnatune.publication import ownership
from dnatune.publication.bundle import RECORD, Bundle, Item
from dnatune.publication.errors import PublishError
from dnatune.publication.refusals import explain_refusals

#: What a hub puts into each new repository.
_OF_THE_HUB = {".gitattributes"}


@dataclasses.dataclass(frozen=True)
class Remote:
    """A repository as it is on the hub.

    Attributes:
        commit: the latest commit of the branch; None if there is no such branch yet.
        private: whether only its owner and their organization see it.
        files: by path.
    """

    commit: str | None
    private: bool
    files: dict[str, File]

    @classmethod
    def of(cls, api: HfApi, repository: Repository) -> Self | None:
        """Ask the hub; return None if there is no such repository, or none that the token may see."""
        try:
            info = with_retries(lambda: information(api, repository))
            return cls(info.sha, bool(info.private), files_of(info))
        except RevisionNotFoundError:
            info = with_retries(lambda: api.repo_info(repository.name))
            return cls(None, bool(info.private), {})
        except RepositoryNotFoundError:
            return None


def publish(bundle: Bundle, repository: Repository, public: bool, say: Callable[[str], None]) -> str | None:
    """Send the files that the repository lacks; return the commit, or None if it has all of them already.

    Args:
        bundle: what to send.
        repository: where to; its revision is the branch. It is made if it is missing.
        public: whether everybody is to see it.
        say: is told what is done.

    Raises:
        PublishError: the hub refuses, the connection breaks, or the repository holds what is not of this publication.
    """
    _refuse_without_access(repository)
    api = HfApi(endpoint=repository.endpoint, token=repository.token, library_name="dnatune")
    with explain_refusals(repository):
        remote = Remote.of(api, repository)
        if remote is None:
            _create(api, repository, public)
            remote = _existing(api, repository)
            say(f"made the {_seen(not public)} repository {repository.name}")
        _refuse_other_visibility(remote, repository, public)
        if remote.commit is None:
            api.create_branch(repository.name, branch=repository.revision, exist_ok=True)
            say(f"made the branch {repository.revision}")
            remote = _existing(api, repository)
        lacking = [item for item in bundle.items if not _is_there(item, remote)]
        gone = _check(api, repository, remote, bundle, lacking)
        if not lacking and not gone:
            return None
        commit = api.create_commit(
            repository.name,
            [CommitOperationAdd(item.name, item.path) for item in lacking]
            + [CommitOperationDelete(name) for name in sorted(gone)],
            commit_message=f"Publish {bundle.place} with dnatune",
            revision=repository.revision,
            parent_commit=remote.commit,
        )
        _check_arrival(api, dataclasses.replace(repository, revision=commit.oid), bundle)
    return commit.oid


def _refuse_without_access(repository: Repository) -> None:
    """Check what can be checked without the hub."""
    if constants.is_offline_mode():
        raise PublishError(
            "HF_HUB_OFFLINE is set, so nothing can be sent",
            where=str(repository),
            fix="unset it, on a machine that reaches the hub; or publish to a folder with --folder",
        )
    check_environment(repository)
    if get_token() is None:
        raise PublishError(
            "there is no access token",
            where=str(repository),
            fix="set HF_TOKEN to a token with write access, or store one with `hf auth login`; it is never shown",
        )


def _create(api: HfApi, repository: Repository, public: bool) -> None:
    """Make a repository that the hub does not show; the hub may have it all the same."""
    try:
        api.create_repo(repository.name, private=not public)
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise


def _existing(api: HfApi, repository: Repository) -> Remote:
    """Return a repository that the hub has."""
    if (found := Remote.of(api, repository)) is None:
        raise PublishError(
            "the hub has a repository of that name, and does not show it to this token",
            where=str(repository),
            fix="name another repository, or check whether the token may read repositories of that owner",
        )
    return found


def _refuse_other_visibility(remote: Remote, repository: Repository, public: bool) -> None:
    if remote.private == public:
        raise PublishError(
            f"the repository is {_seen(remote.private)}, and this would be a {_seen(not public)} publication",
            where=str(repository),
            fix="leave --public out, or change the visibility in the repository's settings"
            if public
            else "add --public if everybody may have the model, or change the visibility in the repository's settings",
        )


def _seen(private: bool) -> str:
    return "private" if private else "public"


def _is_there(item: Item, remote: Remote) -> bool:
    """Return whether the repository has a file with this content."""
    file = remote.files.get(item.name)
    if file is None or not file.content_hash:
        return False
    return file.content_hash == (item.sha256 if _is_large(file) else _git_hash(item.path))


def _is_large(file: File) -> bool:
    """Return whether the hub keeps a file in git-lfs, and so names its content by its SHA-256."""
    return len(file.content_hash or "") == 64


def _git_hash(path: Path) -> str:
    """Return git's name of a file's content, by which the hub names small files."""
    found = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            found.update(block)
    return found.hexdigest()


def _check(api: HfApi, repository: Repository, remote: Remote, bundle: Bundle, lacking: list[Item]) -> set[str]:
    """Check that the repository may be written to; return the files of the last publication that this one lacks.

    Raises:
        PublishError: the repository holds files of others, files that were changed there, or another run.
    """
    names, where = remote.files.keys() - _OF_THE_HUB, str(repository)
    if not names:
        return set()
    with tempfile.TemporaryDirectory() as folder:

        def fetched(name: str) -> Path:
            return Path(api.hf_hub_download(repository.name, name, revision=remote.commit, local_dir=folder))

        manifest = fetched(MANIFEST) if MANIFEST in names else Path(folder, MANIFEST)
        published = ownership.published_files(manifest, where)
        ownership.refuse_strangers(names - published.keys() - {MANIFEST}, where)
        gone = names - bundle.hashes.keys()
        replaced = {item.name for item in lacking if item.name in names and item.name != MANIFEST} | gone

        def changed(name: str) -> bool:
            file = remote.files[name]
            return published[name] != (file.content_hash if _is_large(file) else sha256_of_file(fetched(name)))

        ownership.refuse_changed(filter(changed, replaced), where)
        if RECORD in names:
            ownership.refuse_other_run(fetched(RECORD), bundle.place, where)
    return gone


def _check_arrival(api: HfApi, repository: Repository, bundle: Bundle) -> None:
    """Check that the commit holds every file as it was sent."""
    remote = _existing(api, repository)
    if lost := [item.name for item in bundle.items if not _is_there(item, remote)]:
        raise PublishError(
            f"the hub lists other contents than were sent: {', '.join(lost[:3])}",
            where=str(repository),
            fix="type the same command again; if it happens again, tell the hub's operator",
        )
