"""A base model in a folder that many results share: its weights are checked once and linked, not copied."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnatune.data.integrity import MANIFEST, Contents, check, stamps
from dnatune.data.manifests import Manifest
from dnatune.errors import ModelError

#: What the manifest of linked results says of the store.
_PROVENANCE = ("source", "origin", "requested", "revision")


def link(store: Path, names: Sequence[str], folder: Path) -> tuple[Contents, dict[str, Any]]:
    """Put a model's files into a folder: links to the weights, copies of all else.

    Large weights count as unchanged if they have the size and the date of the store's manifest; otherwise they are
    read whole.

    Args:
        store: folder with the model and the manifest.json of its download.
        names: files of the model.
        folder: existing folder.

    Returns:
        The contents of the folder, without reading the weights again, and where the store's files came from.

    Raises:
        ModelError: the store has no manifest, or the manifest does not name a file.
        DataError: a file has changed since the manifest was written, or the manifest is damaged.
    """
    where, key = str(store.absolute()), "models.<name>.directory.link"
    if not (store / MANIFEST).is_file():
        raise ModelError(
            f"'{key}' is true and the folder has no {MANIFEST}, so nobody has checked its files",
            where=where,
            fix="make it with `python -m dnatune download model` (docs/facility.md), or set the key to false",
        )
    made = Manifest.read(store / MANIFEST)
    unknown = [name for name in names if name not in made.files]
    if unknown:
        raise ModelError(
            f"its {MANIFEST} does not name the file {unknown[0]}",
            where=where,
            fix=f"move the file away if it is no part of the model, or set '{key}' to false",
        )
    files = {name: made.files[name] for name in names}
    check(store, made.model_copy(update={"files": files}), "download the model again into another folder")
    for name in names:
        if name.endswith(".safetensors"):
            (folder / name).symlink_to((store / name).resolve())
        else:
            shutil.copyfile(store / name, folder / name)
    return Contents(files=files, large=stamps(folder, files)), made.model_dump(include=set(_PROVENANCE))
