import hashlib
import json
import threading
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from dnatune.data import hub
from dnatune.errors import DataError, DownloadError, ModelError
from dnatune.files import digest, folder_hashes
from hub_fixtures import (
    DATA,
    FIRST,
    MODEL,
    SECOND,
    SHARD,
    SMALL_FILES,
    SPLITS,
    TOKEN,
    child,
    content,
    fetch,
    fetch_splits,
    files_of,
    refused,
    wait_for,
)
from hub_fixtures import environment as environment
from hub_fixtures import server as server
from hub_server import git_hash


def test_a_model_is_fetched_whole_and_nothing_else(server, tmp_path):
    manifest = fetch(server, tmp_path / "models" / "tiny")
    folder = tmp_path / "models" / "tiny"
    wanted = {**SMALL_FILES, "model.safetensors": content(1, 300_000)}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"} == wanted
    written = json.loads((folder / "manifest.json").read_text())
    assert written.pop("digest") == digest(written)
    assert (
        manifest.model_dump()
        == written
        == {
            "large": {},
            "source": "hub",
            "origin": MODEL,
            "requested": "v1",
            "revision": FIRST,
            "settings": {},
            "split": None,
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()},
        }
    )
    assert manifest.files == folder_hashes(folder)
    fetched = [request for request in server.requests if "/resolve/" in request.path]
    assert sorted(request.path.split(f"/{FIRST}/")[1] for request in fetched) == sorted(wanted)
    # A compressed response could not be resumed.
    assert {request.headers["accept-encoding"] for request in fetched} == {"identity"}


def test_sharded_weights_are_those_of_the_index(server, tmp_path):
    manifest = fetch(server, tmp_path / "m", "main")
    assert manifest.revision == SECOND
    assert {name for name in manifest.files if name.startswith("model")} == {
        "model.safetensors.index.json",
        SHARD,
        "model-00002-of-00002.safetensors",
    }
    assert len(server.of_file(SHARD)) == 1
    assert manifest.files == folder_hashes(tmp_path / "m")


@pytest.mark.parametrize(
    ("revision", "weights"),
    [("v1", {"model.safetensors"}), ("main", {SHARD, "model-00002-of-00002.safetensors"})],
)
def test_the_outline_of_a_model_has_its_small_files_and_the_size_of_all(
    revision, weights, server, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    (tmp_path / "outline").mkdir()
    size = hub.fetch_outline(MODEL, revision, tmp_path / "outline")
    assert {path.name for path in (tmp_path / "outline").iterdir()} == set(SMALL_FILES)
    assert not any(server.of_file(name) for name in weights)
    fetched = fetch(server, tmp_path / "m", revision).files
    assert weights <= set(fetched)
    assert size == sum((tmp_path / "m" / name).stat().st_size for name in fetched)


def test_splits_lie_flat_with_a_manifest(server, tmp_path):
    manifest = fetch_splits(server, tmp_path / "t")
    assert manifest.revision == FIRST
    assert manifest.origin == DATA
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "train.csv",
        "dev.csv",
        "test.csv",
        "manifest.json",
    }
    assert (tmp_path / "t" / "dev.csv").read_bytes() == SPLITS["GUE/t/dev.csv"]
    assert manifest.files == folder_hashes(tmp_path / "t")


@pytest.mark.parametrize("revision", [FIRST, "v1", "refs/pr/1"])
def test_any_way_to_name_a_revision_comes_down_to_its_commit(server, tmp_path, revision):
    assert fetch(server, tmp_path / "m", revision).revision == FIRST
    asked = {request.path.split("/resolve/")[1][:40] for request in server.requests if "/resolve/" in request.path}
    assert asked == {FIRST}, "files must come from the commit, not from a name that may move"


def test_a_branch_is_resolved_once_though_it_moves_meanwhile(server, tmp_path):
    server.stalled["config.json"] = threading.Event()
    result = []
    thread = threading.Thread(target=lambda: result.append(fetch(server, tmp_path / "m", "main")))
    thread.start()
    wait_for(lambda: server.of_file("config.json"))
    server.repositories["model", MODEL].references["main"] = FIRST
    server.stalled["config.json"].set()
    thread.join(timeout=20)
    assert result[0].revision == SECOND
    assert (tmp_path / "m" / "config.json").read_bytes() == b"newer"


def test_the_destination_is_replaced_whole(server, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "stale.json").write_text("{}")
    fetch(server, tmp_path / "m")
    assert not (tmp_path / "m" / "stale.json").exists()


def test_a_failed_fetch_leaves_the_earlier_one(server, tmp_path):
    fetch(server, tmp_path / "m")
    before = folder_hashes(tmp_path / "m")
    server.statuses[SHARD] = [500] * 9
    with pytest.raises(DownloadError):
        fetch(server, tmp_path / "m", "main")
    assert folder_hashes(tmp_path / "m") == before


def test_a_second_fetch_downloads_nothing_again(server, tmp_path):
    fetch(server, tmp_path / "m")
    server.requests.clear()
    fetch(server, tmp_path / "n")
    assert [request.path for request in server.requests] == [f"/api/models/{MODEL}/revision/v1?blobs=true"]
    assert folder_hashes(tmp_path / "m") == folder_hashes(tmp_path / "n")


def test_weights_share_the_disk_with_the_cache_and_texts_can_be_edited(server, tmp_path):
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").stat().st_nlink == 2
    with (tmp_path / "m" / "config.json").open("a") as stream:
        stream.write("edited")
    fetch(server, tmp_path / "n")
    assert (tmp_path / "n" / "config.json").read_bytes() == SMALL_FILES["config.json"]
    assert len(server.of_file("config.json")) == 1


# --- what a repository may lack -------------------------------------------------------------------


def test_pickles_are_refused_with_a_way_out(server, tmp_path):
    files = files_of(server)
    del files["model.safetensors"], files["original/model.safetensors"]
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "pytorch_model.bin" in message and "safetensors" in message and "save_pretrained" in message
    assert not [request for request in server.requests if "/resolve/" in request.path]


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        (["tokenizer.json"], "tokenizer.json, tokenizer.model"),
        (["config.json"], "config.json"),
        (["model.safetensors", "pytorch_model.bin", "training_args.bin", "optimizer.pt"], "no weights"),
    ],
)
def test_a_model_that_lacks_something_is_refused(server, tmp_path, absent, said):
    for name in absent:
        del files_of(server)[name]
    message = refused(ModelError, fetch, server, tmp_path / "m")
    assert said in message and MODEL in message


def test_an_adapter_is_not_a_base_model(server, tmp_path):
    files_of(server)["adapter_model.safetensors"] = files_of(server).pop("model.safetensors")
    assert "adapter" in refused(ModelError, fetch, server, tmp_path / "m")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (b'{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors"),
        (b'{"weight_map": {"a": "../../etc/evil.safetensors"}}', "evil"),
        (b'{"weight_map": {"a": "config.json"}}', "config.json"),
        (b'{"weight_map": {"a": 1}}', "not an index"),
        (b'{"weight_map": {}}', "no weights"),
        (b"[]", "not an index"),
        (b"no json", "not an index"),
    ],
)
def test_an_index_of_missing_or_strange_weights_is_refused(server, tmp_path, index, said):
    files_of(server, SECOND)["model.safetensors.index.json"] = index
    assert said in refused(ModelError, fetch, server, tmp_path / "m", "main")


def test_a_missing_split_is_named(server, tmp_path):
    del server.repositories["dataset", DATA].commits[FIRST]["GUE/t/dev.csv"]
    message = refused(DataError, fetch_splits, server, tmp_path / "t")
    assert "GUE/t/dev.csv" in message and "train.csv" not in message


def test_an_unknown_task_names_the_ones_there_are(server, tmp_path):
    assert ": t, u" in refused(DataError, fetch_splits, server, tmp_path / "x", "prom_core")
    server.repositories["dataset", DATA].commits[FIRST] = {"data.csv": b""}
    assert "layout of GUE" in refused(DataError, fetch_splits, server, tmp_path / "x", "prom_core")


# --- without a network ----------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["v1", FIRST])
def test_offline_a_warm_cache_is_enough(server, tmp_path, monkeypatch, revision):
    online = fetch(server, tmp_path / "m", revision), fetch_splits(server, tmp_path / "t")
    server.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert (fetch(server, tmp_path / "n", revision), fetch_splits(server, tmp_path / "u")) == online
    assert folder_hashes(tmp_path / "m") == folder_hashes(tmp_path / "n")
    assert folder_hashes(tmp_path / "t") == folder_hashes(tmp_path / "u")
    assert not server.requests


def test_offline_a_cold_cache_says_what_is_missing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert f"revision v1 of {MODEL}" in message and "HF_HUB_OFFLINE" in message
    refused(DownloadError, fetch, server, tmp_path / "m", FIRST)
    assert not server.requests


def test_offline_another_task_or_revision_is_missing(server, tmp_path, monkeypatch):
    fetch(server, tmp_path / "n")
    fetch_splits(server, tmp_path / "t")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "GUE/u/train.csv" in refused(DownloadError, fetch_splits, server, tmp_path / "u", "u")
    refused(DownloadError, fetch, server, tmp_path / "m", "main")


def test_offline_half_a_model_is_never_taken_for_a_whole_one(server, tmp_path, monkeypatch):
    server.statuses[SHARD] = [500] * 9
    refused(DownloadError, fetch, server, tmp_path / "m", "main")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused(DownloadError, fetch, server, tmp_path / "m", "main")


def test_offline_a_cache_that_another_program_half_filled(server, tmp_path, monkeypatch):
    options = {"endpoint": server.endpoint, "cache_dir": tmp_path / "cache", "revision": "main"}
    for name in (*SMALL_FILES, "model.safetensors.index.json"):
        huggingface_hub.hf_hub_download(MODEL, name, **options)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert SHARD in refused(DownloadError, fetch, server, tmp_path / "m", "main")


def test_offline_damage_is_noticed(server, tmp_path, monkeypatch):
    fetch(server, tmp_path / "n")
    blob = next((tmp_path / "cache").rglob(git_hash(SMALL_FILES["config.json"])))
    blob.write_bytes(b"x" * blob.stat().st_size)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "config.json" in refused(DownloadError, fetch, server, tmp_path / "m")


def test_the_cache_is_the_clients_own(server, tmp_path, monkeypatch):
    """What the client has cached needs no download here, and what is cached here none there."""
    options = {"endpoint": server.endpoint, "cache_dir": tmp_path / "cache"}
    huggingface_hub.snapshot_download(MODEL, revision="main", **options)
    server.requests.clear()
    fetch(server, tmp_path / "m", "main")
    assert len(server.requests) == 1
    fetch(server, tmp_path / "n", "v1")
    found = huggingface_hub.hf_hub_download(MODEL, "model.safetensors", revision="v1", local_files_only=True, **options)
    assert Path(found).read_bytes() == content(1, 300_000)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(server, tmp_path / "o", "main").files == folder_hashes(tmp_path / "m")


# --- the environment, as a script meets it --------------------------------------------------------


def test_the_standard_variables_are_honoured(server, tmp_path):
    server.repositories["model", MODEL].token = TOKEN
    said, _ = child(server, tmp_path).communicate(timeout=30)
    assert said.strip() == FIRST
    server.requests.clear()
    process = child(server, tmp_path, HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "other"))
    said, _ = process.communicate(timeout=30)
    assert process.returncode == DownloadError.exit_status
    assert "revision v1" in said and "HF_HUB_OFFLINE" in said and "Traceback" not in said and TOKEN not in said
    assert not server.requests
