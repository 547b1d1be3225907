"""A base model that many results share is checked once and linked, and a change of it is noticed."""

import os
import shutil

import pytest

from dnatune.data import integrity
from dnatune.data.manifests import Manifest
from dnatune.errors import DataError, ModelError
from dnatune.files import sha256_of_file
from dnatune.model.sources import download_model, make_tiny
from dnatune.settings.sources import ModelSettings, TinyModel

TINY = TinyModel(hidden_size=16, layers=1, intermediate_size=32, vocabulary=500, heads=2, key_value_heads=2)


def settings(path, link):
    return ModelSettings.read({"source": "directory", "directory": {"path": str(path), "link": link}})


@pytest.fixture
def store(tmp_path):
    """A store, as `python -m dnatune download model` makes it of a folder."""
    origin = tmp_path / "origin"
    origin.mkdir()
    make_tiny(TINY, ["ACGTACGGTTCA" * 30], ["Which class?"], origin)
    download_model(settings(origin, False), None, tmp_path / "store")
    return tmp_path / "store"


def linked(store, name="linked"):
    folder = store.with_name(name)
    download_model(settings(store, True), None, folder)
    return folder


def test_weights_are_linked_and_all_else_is_copied(store):
    folder = linked(store)
    download_model(settings(store, False), None, store.with_name("copied"))
    links = {path.name: path.resolve() for path in folder.iterdir() if path.is_symlink()}
    assert links == {"model.safetensors": store / "model.safetensors"}
    one, other = (Manifest.read(store.with_name(name) / "manifest.json") for name in ("linked", "copied"))
    # They are the same model: runs on the one go on with the other.
    assert one.digest == other.digest == integrity.check_model(folder)
    assert one.settings == {
        "store": {"source": "directory", "origin": str(store.with_name("origin")), "requested": None, "revision": None}
    }
    shutil.rmtree(folder)
    assert integrity.check_model(store) == one.digest


def test_large_weights_are_not_read_again(store, monkeypatch):
    monkeypatch.setattr(integrity, "_SMALL_BYTES", 0)
    # As of a store that was made with files of that size.
    manifest = Manifest.read(store / "manifest.json")
    large = integrity.stamps(store, manifest.files)
    manifest.model_copy(update={"large": large}).write(store / "manifest.json")
    read = []
    monkeypatch.setattr(integrity, "sha256_of_file", lambda path: read.append(path.name) or sha256_of_file(path))
    folder = linked(store)
    assert read == []
    integrity.check_model(folder)
    assert read == []
    weights = store / "model.safetensors"
    os.utime(weights, (1, 1))
    integrity.check_model(folder)
    assert read == ["model.safetensors"]
    with weights.open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"\1\2\3\4")
    with pytest.raises(DataError, match="has changed since it was made"):
        integrity.check_model(folder)
    with pytest.raises(DataError, match="has changed since it was made") as caught:
        linked(store, "again")
    assert caught.value.where == str(weights) and not store.with_name("again").exists()


def test_what_nobody_has_checked_is_not_linked(store):
    with pytest.raises(ModelError, match=r"has no manifest\.json") as caught:
        linked(store.with_name("origin"))
    assert caught.value.where == str(store.with_name("origin")) and "dnatune download model" in caught.value.fix
    (store / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    with pytest.raises(ModelError, match=r"does not name the file chat_template\.jinja"):
        linked(store)
    assert not store.with_name("linked").exists()
