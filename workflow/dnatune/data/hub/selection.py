"""Which files of a repository are needed, and what it means that one is missing."""

import json
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from dnatune.data.hub.repository import Snapshot, not_cached
from dnatune.data.tasks import SPLITS
from dnatune.errors import DataError, DnatuneError, DownloadError, ModelError

INDEX = "model.safetensors.index.json"
_WEIGHTS = "model.safetensors"
#: Everything but the weights, in lower case. An allow-list: code, pickles and adapters can never match.
_MODEL_FILES = (
    "config*.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "license",
    "license.txt",
    "license.md",
    "notice",
    "notice.txt",
    "readme.md",
)
#: Any one of these makes a tokenizer.
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def choose(snapshot: Snapshot, select: Callable[..., list[str]], *arguments: object) -> list[str]:
    """Apply one of the functions below to the snapshot's paths; offline, what is missing is missing from the cache."""
    try:
        return select(*arguments, snapshot.files)
    except DnatuneError as error:
        if snapshot.offline:
            raise not_cached(snapshot.repository, f"all of {snapshot.repository.name} ({error.what})") from None
        error.where = str(snapshot.repository)
        raise


def model_files(available: Iterable[str]) -> list[str]:
    """Return the files of a model repository that are needed, of sharded weights the index alone.

    Only the repository's root is looked at: other folders hold other formats of the same model.

    Raises:
        DownloadError: the weights are only there as pickles.
        ModelError: configuration, tokenizer or weights are missing.
    """
    root = {path for path in available if "/" not in path}
    chosen = sorted(path for path in root if any(fnmatchcase(path.lower(), pattern) for pattern in _MODEL_FILES))
    pickles = sorted(path for path in root if path.endswith(_PICKLES))
    weights = next((path for path in (_WEIGHTS, INDEX) if path in root), None)
    if weights is None and "adapter_model.safetensors" in root:
        raise ModelError(
            "the repository holds an adapter, not a base model",
            fix="name the repository of the model that the adapter was trained on",
        )
    if weights is None and pickles:
        raise DownloadError(
            f"the weights are only there as pickles ({', '.join(pickles)}); dnatune takes safetensors only, "
            "because loading a pickle runs whatever code it holds",
            fix="see whether the hub has a converted copy (a pull request is a revision: refs/pr/1), or load "
            "the model in a throw-away environment, save it with save_pretrained(), and name that folder as "
            "the model's `directory`",
        )
    if weights is None:
        raise ModelError(
            f"the repository has no weights: neither {_WEIGHTS} nor {INDEX}",
            fix="name the repository of a transformers model with safetensors weights",
        )
    if "config.json" not in root:
        raise ModelError("the repository has no config.json", fix="name the repository of a transformers model")
    if not root.intersection(_VOCABULARIES):
        raise ModelError(
            f"the repository has no tokenizer: none of {', '.join(_VOCABULARIES)}",
            fix="download the model by hand, put the tokenizer it was trained with beside it, and name that "
            "folder as the model's `directory`",
        )
    return [*chosen, weights]


def shards_of(index: Path, available: Iterable[str]) -> list[str]:
    """Return the weight files that a `model.safetensors.index.json` names.

    Raises:
        ModelError: the index is not one, or a shard is missing from the repository or not safetensors.
    """
    try:
        shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        unsafe = [shard for shard in shards if "/" in shard or not shard.endswith(".safetensors")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{INDEX} is not an index of weights", fix="choose another revision, or tell the model's owner"
        ) from None
    absent = sorted(set(shards) - set(available))
    if unsafe or absent or not shards:
        raise ModelError(
            f"{INDEX} names weights that are not there as safetensors: {', '.join(unsafe or absent) or 'none at all'}",
            fix="choose another revision, or tell the model's owner",
        )
    return shards


def split_files(task: str, available: Iterable[str]) -> list[str]:
    """Return the paths of a task's three splits in a repository laid out like GUE.

    Raises:
        DataError: a split is missing; the message names it, or the tasks there are if all three are.
    """
    paths = [f"GUE/{task}/{split}.csv" for split in SPLITS]
    present = set(available)
    absent = [path for path in paths if path not in present]
    if len(absent) == len(paths):
        tasks = sorted({path.split("/")[1] for path in present if re.fullmatch(r"GUE/[^/]+/train\.csv", path)})
        raise DataError(
            f"the repository has no task {task!r}: {', '.join(paths)} are missing",
            fix=f"choose one of: {', '.join(tasks)}" if tasks else "name a repository laid out like GUE",
        )
    if absent:
        raise DataError(
            f"the repository lacks {', '.join(absent)}",
            fix="choose another revision, or bring the three files as a `directory` source",
        )
    return paths
