"""The files of a repository that are needed, and the errors if one is missing."""

import json
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from dnatune.data.hub.repository import Snapshot, not_cached
from dnatune.errors import DataError, DnatuneError, DownloadError, ModelError
from dnatune.settings.tasks import SPLITS

INDEX = "model.safetensors.index.json"
_WEIGHTS = "model.safetensors"
#: All files except the weights, in lower case. As this is an allow-list, code, pickles and adapters never match.
_MODEL_FILES = (
    "config*.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "chat_template.jinja",
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
#: Each of these files is enough for a tokenizer.
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
    """Apply a function below to the snapshot's paths; offline, a missing file is missing from the cache."""
    try:
        return select(*arguments, snapshot.files)
    except DnatuneError as error:
        if snapshot.offline:
            raise not_cached(snapshot.repository, f"all of {snapshot.repository.name} ({error.what})") from None
        error.where = str(snapshot.repository)
        raise


def model_files(available: Iterable[str], vocabulary_needed: bool = True) -> list[str]:
    """Return the files of a model repository that are needed; for sharded weights, only the index.

    Only the root of the repository is considered, because other folders hold other formats of the same model.

    Args:
        available: paths in the repository.
        vocabulary_needed: whether the tokenizer is known by a file of its vocabulary only.

    Raises:
        DownloadError: the repository has only pickled weights.
        ModelError: the configuration, the tokenizer or the weights are missing.
    """
    root = {path for path in available if "/" not in path}
    chosen = sorted(path for path in root if any(fnmatchcase(path.lower(), pattern) for pattern in _MODEL_FILES))
    pickles = sorted(path for path in root if path.endswith(_PICKLES))
    weights = next((path for path in (_WEIGHTS, INDEX) if path in root), None)
    if weights is None and "adapter_model.safetensors" in root:
        raise ModelError(
            "the repository holds an adapter, not a base model",
            fix="give the repository of the model on which the adapter was trained",
        )
    if weights is None and pickles:
        raise DownloadError(
            f"all weights are pickles ({', '.join(pickles)}); dnatune accepts only safetensors, because loading a "
            "pickle runs any code that it contains",
            fix="check whether the hub has a converted copy (a pull request is a revision: refs/pr/1), or load the "
            "model in a separate environment, save it with save_pretrained(), and give that folder as the model's "
            "`directory`",
        )
    if weights is None:
        raise ModelError(
            f"the repository has no weights: neither {_WEIGHTS} nor {INDEX}",
            fix="give the repository of a transformers model with safetensors weights",
        )
    if "config.json" not in root:
        raise ModelError("the repository has no config.json", fix="give the repository of a transformers model")
    if vocabulary_needed and not root.intersection(_VOCABULARIES):
        raise ModelError(
            f"the repository has no tokenizer: none of {', '.join(_VOCABULARIES)}",
            fix="download the model by hand, add the tokenizer with which it was trained, and give that folder as the "
            "model's `directory`",
        )
    return [*chosen, weights]


def shards_of(index: Path, available: Iterable[str]) -> list[str]:
    """Return the weight files that a `model.safetensors.index.json` names.

    Raises:
        ModelError: the index is malformed, or a shard is missing from the repository or is not safetensors.
    """
    try:
        shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        unsafe = [shard for shard in shards if "/" in shard or not shard.endswith(".safetensors")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{INDEX} is not an index of weights", fix="choose another revision, or inform the model's owner"
        ) from None
    absent = sorted(set(shards) - set(available))
    if unsafe or absent or not shards:
        lost = f"weights that are missing or not safetensors: {', '.join(unsafe or absent)}" if shards else "no weights"
        raise ModelError(f"{INDEX} names {lost}", fix="choose another revision, or inform the model's owner")
    return shards


def split_files(task: str, available: Iterable[str]) -> list[str]:
    """Return the paths of a task's three splits in a repository laid out like GUE.

    Raises:
        DataError: a split is missing; the message names it, or the existing tasks if all three are missing.
    """
    paths = [f"GUE/{task}/{split}.csv" for split in SPLITS]
    present = set(available)
    absent = [path for path in paths if path not in present]
    if len(absent) == len(paths):
        tasks = sorted({path.split("/")[1] for path in present if re.fullmatch(r"GUE/[^/]+/train\.csv", path)})
        raise DataError(
            f"the repository has no task {task!r}: {', '.join(paths)} are missing",
            fix=f"choose one of: {', '.join(tasks)}" if tasks else "give a repository with the layout of GUE",
        )
    if absent:
        raise DataError(
            f"the repository lacks {', '.join(absent)}",
            fix="choose another revision, or provide the three files as a `directory` source",
        )
    return paths
