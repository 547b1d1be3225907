"""Fetches models and GUE splits from a model hub, from a pinned commit, complete and with verified checksums.

Files are first stored in the client's standard cache (`HF_HOME`), because transformers and the `hf` command share
this cache, `HF_HUB_OFFLINE=1` reads it, and it survives an interrupted run. From there they are linked or copied
into the destination. The cache keeps its documented layout (refs, blobs, snapshots), with two differences from the
client's behaviour: an interrupted download is continued, and a snapshot appears in the cache only after all of its
files are there (both in `transfer`).
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from dnatune.data.hub.errors import explain_hub_errors
from dnatune.data.hub.repository import Repository, Snapshot, resolve
from dnatune.data.hub.selection import INDEX, choose, model_files, shards_of, split_files
from dnatune.data.hub.transfer import fetch, publish, require_space
from dnatune.data.manifests import Manifest
from dnatune.errors import ModelError


def fetch_model(
    repo: str,
    revision: str,
    destination: Path,
    *,
    requested: str | None = None,
    endpoint: str | None = None,
    token_allowed: bool = True,
    check_before: Callable[[Path], None] = lambda _: None,
    check: Callable[[Path], None] = lambda _: None,
) -> Manifest:
    """Fetch a base model and its tokenizer into the folder `destination`, and return its manifest.

    Only the configuration, tokenizer, license, read-me and the safetensors weights that transformers would load
    are fetched: `model.safetensors`, or if there is none the shards that `model.safetensors.index.json` names.
    Nothing is written to `destination` until all files are complete and verified. An interrupted download is
    continued.

    Args:
        repo: `owner/name`.
        revision: branch, tag or 40-digit commit. It is resolved once; the manifest records the commit.
        destination: folder, which is replaced as a whole. Its `manifest.json` is the manifest (docs/contracts.md).
        requested: the name under which the revision was first requested, for the manifest; default: `revision`.
        endpoint: address of the hub or a mirror; default: `HF_ENDPOINT`, otherwise the client's default.
        token_allowed: whether `HF_TOKEN` or a stored log-in may be sent to that address.
        check_before: raises a ModelError of a folder that holds all files but the weights, before these are fetched.
        check: raises a ModelError of a folder of files that must not become the destination.

    Raises:
        DownloadError: the hub, the network, the disk or the content has a fault, or all weights are pickles.
        ModelError: the repository lacks its configuration, tokenizer or weights, or a check refuses it.
    """
    repository = Repository.checked(repo, "model", revision, endpoint, token_allowed)
    with explain_hub_errors(repository):
        snapshot = resolve(repository)
        *small, weights = choose(snapshot, model_files)
        require_space(snapshot, [*small, weights], destination)
        fetched = _fetch(snapshot, small, destination)
        _check_small_files(snapshot, fetched, check_before)
        fetched |= _fetch(snapshot, [weights], destination)
        if INDEX in fetched:
            index, _ = fetched[INDEX]
            fetched |= _fetch(snapshot, choose(snapshot, shards_of, index), destination)
        return publish(snapshot, fetched, destination, requested, check)


def fetch_outline(repo: str, revision: str, folder: Path) -> int:
    """Copy the small files of a base model into `folder`; return the bytes of all files that `fetch_model` fetches.

    The arguments and the errors are those of `fetch_model`; only small files go through the network.
    """
    repository = Repository.checked(repo, "model", revision, None, True)
    with explain_hub_errors(repository):
        snapshot = resolve(repository)
        *small, weights = choose(snapshot, model_files)
        for name in small:
            shutil.copyfile(fetch(snapshot, name)[0], folder / name)
        shards = choose(snapshot, shards_of, fetch(snapshot, weights)[0]) if weights == INDEX else []
    return sum(snapshot.files[name].size or 0 for name in (*small, weights, *shards))


def fetch_dataset_splits(
    repo: str,
    revision: str,
    task: str,
    destination: Path,
    *,
    requested: str | None = None,
    endpoint: str | None = None,
    token_allowed: bool = True,
) -> Manifest:
    """Fetch `GUE/<task>/{train,dev,test}.csv` into the folder `destination`, and return its manifest.

    The arguments and the treatment of interruptions are those of `fetch_model`.

    Raises:
        DownloadError: the hub, the network, the disk or the content has a fault.
        DataError: the repository has no such task, or lacks one of its splits.
    """
    repository = Repository.checked(repo, "dataset", revision, endpoint, token_allowed)
    with explain_hub_errors(repository):
        snapshot = resolve(repository)
        fetched = _fetch(snapshot, choose(snapshot, split_files, task), destination)
        return publish(snapshot, fetched, destination, requested)


def _check_small_files(snapshot: Snapshot, fetched: dict[str, tuple[Path, str]], check: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, (path, _) in fetched.items():
            Path(folder, name).write_bytes(path.read_bytes())
        try:
            check(Path(folder))
        except ModelError as error:
            # The folder is gone when this is read.
            error.where = str(error.where).replace(folder, str(snapshot.repository))
            raise


def _fetch(snapshot: Snapshot, names: list[str], destination: Path) -> dict[str, tuple[Path, str]]:
    """Bring files into the cache; return the path and the SHA-256 of each."""
    require_space(snapshot, names, destination)
    return {name: fetch(snapshot, name) for name in names}
