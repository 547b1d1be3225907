"""Models and GUE splits from a model hub: a pinned commit, every byte verified, whole or not at all.

Files land first in the client's standard cache (`HF_HOME`), because that is what transformers and the `hf`
command share, what `HF_HUB_OFFLINE=1` reads, and what outlives an interrupted run; from there they are linked
or copied into the destination. The cache keeps its documented layout (refs, blobs, snapshots), but two habits
of the client are changed: an interrupted file is continued (`transfer`), and a snapshot appears in the cache
only when all of its files do (`publication`).
"""

from pathlib import Path
from typing import Any

from dnatune.data.hub.errors import explain_hub_errors
from dnatune.data.hub.repository import Repository, Snapshot, resolve
from dnatune.data.hub.selection import INDEX, choose, model_files, shards_of, split_files
from dnatune.data.hub.transfer import fetch, publish, require_space


def fetch_model(
    repo: str,
    revision: str,
    destination: Path,
    *,
    requested: str | None = None,
    endpoint: str | None = None,
    token_allowed: bool = True,
) -> dict[str, Any]:
    """Fetch a base model and its tokenizer into the folder `destination`, and return its manifest.

    Only configuration, tokenizer, license, read-me and the safetensors weights that transformers would load
    are fetched: `model.safetensors`, else the shards that `model.safetensors.index.json` names. Nothing is
    published at `destination` until everything is there and verified. An interrupted download is continued.

    Args:
        repo: `owner/name`.
        revision: branch, tag or 40-digit commit. Resolved once; the manifest records the commit.
        destination: folder, replaced whole. The manifest (docs/contracts.md) is its `manifest.json`.
        requested: name of the revision for the manifest, where it was first asked for by another than `revision`.
        endpoint: address of the hub or a mirror; default `HF_ENDPOINT`, else the client's.
        token_allowed: whether `HF_TOKEN` or a stored log-in may be sent to that address.

    Raises:
        DownloadError: the hub, network, disk or content is at fault, or the weights are only pickles.
        ModelError: the repository lacks its configuration, tokenizer or weights.
    """
    repository = Repository.checked(repo, "model", revision, endpoint, token_allowed)
    with explain_hub_errors(repository):
        snapshot = resolve(repository)
        fetched = _fetch(snapshot, choose(snapshot, model_files), destination)
        if INDEX in fetched:
            index, _ = fetched[INDEX]
            fetched |= _fetch(snapshot, choose(snapshot, shards_of, index), destination)
        return publish(snapshot, fetched, destination, requested)


def fetch_dataset_splits(
    repo: str,
    revision: str,
    task: str,
    destination: Path,
    *,
    requested: str | None = None,
    endpoint: str | None = None,
    token_allowed: bool = True,
) -> dict[str, Any]:
    """Fetch `GUE/<task>/{train,dev,test}.csv` into the folder `destination`, and return its manifest.

    Arguments, publication and resume as in `fetch_model`.

    Raises:
        DownloadError: the hub, network, disk or content is at fault.
        DataError: the repository has no such task, or lacks one of its splits.
    """
    repository = Repository.checked(repo, "dataset", revision, endpoint, token_allowed)
    with explain_hub_errors(repository):
        snapshot = resolve(repository)
        fetched = _fetch(snapshot, choose(snapshot, split_files, task), destination)
        return publish(snapshot, fetched, destination, requested)


def _fetch(snapshot: Snapshot, names: list[str], destination: Path) -> dict[str, tuple[Path, str]]:
    """Bring files into the cache; return where there each lies, and its SHA-256."""
    require_space(snapshot, names, destination)
    return {name: fetch(snapshot, name) for name in names}
