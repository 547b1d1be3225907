"""Publication to a folder, which appears whole or not at all."""

import shutil
from pathlib import Path

from dnatune.data.integrity import MANIFEST
from dnatune.files import hashes_of, publish_folder, sha256_of_file
from dnatune.publication import ownership
from dnatune.publication.bundle import RECORD, Bundle
from dnatune.publication.errors import PublishError


def publish(bundle: Bundle, target: Path) -> bool:
    """Copy the files to a folder; return False if all are there already.

    Raises:
        PublishError: the folder holds what is not of this publication, or lies in the model's own folder.
    """
    if _found(bundle, target) == bundle.hashes:
        return False
    with publish_folder(target) as scratch:
        for item in bundle.items:
            copy = scratch / item.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(item.path, copy)
            if sha256_of_file(copy) != item.sha256:
                raise PublishError(
                    "a file has changed while it was copied", where=str(item.path), fix="type the same command again"
                )
    return True


def check(bundle: Bundle, target: Path) -> bool:
    """Return whether `publish` would change anything; raise what it would raise of the target."""
    return _found(bundle, target) != bundle.hashes


def _found(bundle: Bundle, target: Path) -> dict[str, str]:
    """Return the hash of each file at the target, which may be replaced."""
    model, where = bundle.trained.folder.resolve(), str(target)
    if target.resolve().is_relative_to(model) or model.is_relative_to(target.resolve()):
        raise PublishError("the target is the model's own folder", where=where, fix="name a folder elsewhere")
    if not target.exists():
        return {}
    if not target.is_dir():
        raise PublishError("the target is no folder", where=where, fix="name another folder")
    names = {str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir() or path.is_symlink()}
    if not names:
        return {}
    published = ownership.published_files(target / MANIFEST, where)
    ownership.refuse_strangers(names - published.keys() - {MANIFEST}, where)
    found = hashes_of(target, names)
    ownership.refuse_changed((name for name in found if found[name] != published.get(name, found[name])), where)
    if RECORD in found:
        ownership.refuse_other_run(target / RECORD, bundle.place, where)
    return found
