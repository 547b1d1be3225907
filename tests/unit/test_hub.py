import errno
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from hub_server import Hub, Repository, git_hash, pointer, serve
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from dnatune import hub
from dnatune.errors import DataError, DnatuneError, DownloadError, ModelError
from dnatune.files import folder_hashes

TOKEN = "hf_" + "secret" * 4
FIRST, SECOND = "1" * 40, "2" * 40
MODEL, DATA = "lab/tiny", "lab/GUE"
SCRIPTS = Path(hub.__file__).parents[1]


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


SHARD = "model-00001-of-00002.safetensors"
INDEX = json.dumps({"weight_map": {"a": SHARD, "b": "model-00002-of-00002.safetensors", "c": SHARD}}).encode()
SMALL_FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{ }",
    "README.md": b"# tiny",
    "LICENSE": b"MIT",
}
#: Never to be fetched: other formats, code, another model's weights in the same format, somebody's files.
UNWANTED = {
    "pytorch_model.bin": b"pickle",
    "training_args.bin": b"pickle",
    "optimizer.pt": b"pickle",
    "modeling_tiny.py": b"import os",
    "adapter_config.json": b"{}",
    "consolidated.safetensors": b"twice the same weights",
    "original/model.safetensors": b"and again",
    "config/training.json": b"{}",
    "config/../../escape.json": b"{}",
    ".gitattributes": b"*",
}
SPLITS = {f"GUE/t/{split}.csv": f"sequence,label\nACGT,{split}\n".encode() for split in ("train", "dev", "test")}


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch, capfd, caplog):
    """Give each test a cache and a secret of its own, and look for the secret in all that was said."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # The client otherwise asks the public hub for a list of known programs, to name one in its user agent.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 16384)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # Waiting is the client's and our own way with errors that pass; these do not.
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(hub, "_WAITS", (0.0, 0.0))
    close_session()
    yield
    close_session()
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err + caplog.text


@pytest.fixture
def server():
    with serve() as running:
        running.repositories["model", MODEL] = Repository(
            commits={
                FIRST: {**SMALL_FILES, **UNWANTED, "model.safetensors": content(1, 300_000)},
                SECOND: {
                    **SMALL_FILES,
                    "config.json": b"newer",
                    "model.safetensors.index.json": INDEX,
                    SHARD: content(2, 300_000),
                    "model-00002-of-00002.safetensors": content(3, 1000),
                },
            },
            references={"main": SECOND, "v1": FIRST, "refs/pr/1": FIRST},
        )
        running.repositories["dataset", DATA] = Repository(
            commits={FIRST: {**SPLITS, "GUE/t/notes.csv": b"", "GUE/u/train.csv": b"", "README.md": b"GUE"}},
            references={"main": FIRST},
        )
        yield running


def files_of(server: Hub, commit: str = FIRST) -> dict[str, bytes]:
    return server.repositories["model", MODEL].commits[commit]


def fetch(server: Hub, destination: Path, revision: str = "v1", **options) -> dict:
    return hub.fetch_model(MODEL, revision, destination, endpoint=server.endpoint, **options)


def fetch_splits(server: Hub, destination: Path, task: str = "t", revision: str = "main") -> dict:
    return hub.fetch_dataset_splits(DATA, revision, task, destination, endpoint=server.endpoint)


def refused(kind: type[DnatuneError], call, *arguments, **options) -> str:
    """Return the message of the error that a call must end with; it leaves nothing and tells no secret."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert TOKEN not in message
    assert caught.value.fix, "says nothing of what to do"
    destination = next(argument for argument in arguments if isinstance(argument, Path))
    assert not destination.exists()
    assert not destination.parent.exists() or not list(destination.parent.glob(f".{destination.name}.*"))
    return message


def test_a_model_is_fetched_whole_and_nothing_else(server, tmp_path):
    manifest = fetch(server, tmp_path / "models" / "tiny")
    folder = tmp_path / "models" / "tiny"
    wanted = {**SMALL_FILES, "model.safetensors": content(1, 300_000)}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"} == wanted
    assert (
        manifest
        == json.loads((folder / "manifest.json").read_text())
        == {
            "source": "hub",
            "origin": MODEL,
            "revision": FIRST,
            "settings": {},
            "files": {name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()},
        }
    )
    assert manifest["files"] == folder_hashes(folder)
    fetched = [request for request in server.requests if "/resolve/" in request.path]
    assert sorted(request.path.split(f"/{FIRST}/")[1] for request in fetched) == sorted(wanted)
    # A compressed answer could not be resumed.
    assert {request.headers["accept-encoding"] for request in fetched} == {"identity"}


def test_sharded_weights_are_those_of_the_index(server, tmp_path):
    manifest = fetch(server, tmp_path / "m", "main")
    assert manifest["revision"] == SECOND
    assert {name for name in manifest["files"] if name.startswith("model")} == {
        "model.safetensors.index.json",
        SHARD,
        "model-00002-of-00002.safetensors",
    }
    assert len(server.of_file(SHARD)) == 1
    assert manifest["files"] == folder_hashes(tmp_path / "m")


def test_splits_lie_flat_with_a_manifest(server, tmp_path):
    manifest = fetch_splits(server, tmp_path / "t")
    assert manifest["revision"] == FIRST
    assert manifest["origin"] == DATA
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "train.csv",
        "dev.csv",
        "test.csv",
        "manifest.json",
    }
    assert (tmp_path / "t" / "dev.csv").read_bytes() == SPLITS["GUE/t/dev.csv"]
    assert manifest["files"] == folder_hashes(tmp_path / "t")


@pytest.mark.parametrize("revision", [FIRST, "v1", "refs/pr/1"])
def test_any_way_to_name_a_revision_comes_down_to_its_commit(server, tmp_path, revision):
    assert fetch(server, tmp_path / "m", revision)["revision"] == FIRST
    asked = {request.path.split("/resolve/")[1][:40] for request in server.requests if "/resolve/" in request.path}
    assert asked == {FIRST}, "files must come from the commit, not from a name that may move"


def test_a_branch_is_resolved_once_though_it_moves_meanwhile(server, tmp_path):
    server.stalled["config.json"] = threading.Event()
    result = {}
    thread = threading.Thread(target=lambda: result.update(fetch(server, tmp_path / "m", "main")))
    thread.start()
    wait_for(lambda: server.of_file("config.json"))
    server.repositories["model", MODEL].references["main"] = FIRST
    server.stalled["config.json"].set()
    thread.join(timeout=20)
    assert result["revision"] == SECOND
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


# --- interruptions --------------------------------------------------------------------------------


def test_a_broken_connection_is_an_error_and_the_next_run_resumes(server, tmp_path):
    server.broken["model.safetensors"] = (150_000, "cut")
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "cannot be reached" in message and "continued" in message
    server.broken.clear()
    server.requests.clear()
    manifest = fetch(server, tmp_path / "m")
    ranges = [request.headers.get("range") for request in server.of_file("model.safetensors")]
    start = int(ranges[0].removeprefix("bytes=").removesuffix("-"))
    # Bytes still in a buffer of the client when the connection broke may be lost, a chunk at most.
    assert len(ranges) == 1 and 150_000 - constants.DOWNLOAD_CHUNK_SIZE <= start <= 150_000
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)
    assert manifest["files"] == folder_hashes(tmp_path / "m")
    assert not list((tmp_path / "cache").rglob("*partial"))
    assert not server.of_file("config.json"), "what was whole is not fetched again"


def test_a_reset_connection_is_an_error_and_the_next_run_is_right(server, tmp_path):
    server.broken["model.safetensors"] = (150_000, "reset")
    assert "cannot be reached" in refused(DownloadError, fetch, server, tmp_path / "m")
    server.broken.clear()
    assert fetch(server, tmp_path / "m")["files"] == folder_hashes(tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def child(server: Hub, tmp_path: Path, *, chunk: int = 16384, **environment: str) -> subprocess.Popen:
    """Start a process of its own that fetches the model to <tmp_path>/m, as a script would."""
    program = (
        "import sys; from pathlib import Path\n"
        f"from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {chunk}\n"
        "from dnatune.errors import run_script; from dnatune.hub import fetch_model\n"
        f"run_script(lambda: print(fetch_model({MODEL!r}, 'v1', Path(sys.argv[1]))['revision']))"
    )
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SCRIPTS),
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": server.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "m")],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def partial_of(tmp_path: Path, data: bytes) -> Path:
    """Return where an interrupted run keeps the beginning of a large file of the model."""
    blobs = tmp_path / "cache" / "models--lab--tiny" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    return blobs / f"{hashlib.sha256(data).hexdigest()}.dnatune-partial"


def test_a_killed_run_is_continued_by_the_next(server, tmp_path):
    server.stalled["model.safetensors"] = threading.Event()
    process = child(server, tmp_path)
    partial = partial_of(tmp_path, content(1, 300_000))
    wait_for(lambda: partial.exists() and partial.stat().st_size > 100_000)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    server.stalled.pop("model.safetensors").set()
    assert not (tmp_path / "m").exists()
    server.requests.clear()
    assert fetch(server, tmp_path / "m")["files"] == folder_hashes(tmp_path / "m")
    (request,) = server.of_file("model.safetensors")
    assert int(request.headers["range"].removeprefix("bytes=").removesuffix("-")) > 100_000
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * 300_000, b"x" * 300_001, content(1, 300_000)])
@pytest.mark.parametrize("ranges", [True, False])
def test_whatever_an_earlier_run_left_the_result_is_right(server, tmp_path, left, ranges):
    server.ranges = ranges
    partial_of(tmp_path, content(1, 300_000)).write_bytes(left)
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)


def test_two_runs_at_once_download_once(server, tmp_path):
    server.stalled["model.safetensors"] = threading.Event()
    other = child(server, tmp_path / "a", HF_HUB_CACHE=str(tmp_path / "cache"))
    wait_for(lambda: server.of_file("model.safetensors"))
    thread = threading.Thread(target=fetch, args=(server, tmp_path / "b"))
    thread.start()
    wait_for(lambda: sum("/api/" in request.path for request in server.requests) == 2)
    server.stalled["model.safetensors"].set()
    thread.join(timeout=20)
    assert other.communicate(timeout=20)[0].strip() == FIRST
    assert len(server.of_file("model.safetensors")) == 1
    assert folder_hashes(tmp_path / "a" / "m") == folder_hashes(tmp_path / "b")


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_damaged_content_is_refused_and_not_kept(server, tmp_path, name):
    right = files_of(server)[name]
    server.replaced[name] = bytes([right[0] ^ 1]) + right[1:]
    assert f"{name} arrived damaged" in refused(DownloadError, fetch, server, tmp_path / "m")
    server.replaced.clear()
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m" / name).read_bytes() == right


@pytest.mark.parametrize("wrong", [b"<html>log in first</html>", content(1, 300_000) + b"more"])
def test_content_of_another_size_is_refused(server, tmp_path, wrong):
    server.replaced["model.safetensors"] = wrong
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert f"{len(wrong)} of 300000 bytes" in message
    server.replaced.clear()
    fetch(server, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)


def test_a_pointer_in_place_of_content_is_named(server, tmp_path):
    server.replaced["model.safetensors"] = pointer(content(1, 300_000))
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "git-lfs pointer in place of model.safetensors" in message
    assert not list((tmp_path / "cache").rglob("*partial"))


def test_a_repository_that_keeps_only_the_pointer_is_refused(server, tmp_path):
    repository = server.repositories["dataset", DATA]
    repository.lfs = ()
    repository.commits[FIRST]["GUE/t/train.csv"] = pointer(b"sequences")
    assert "GUE/t/train.csv is a git-lfs pointer" in refused(DownloadError, fetch_splits, server, tmp_path / "t")


def test_a_damaged_cache_is_mended(server, tmp_path):
    fetch(server, tmp_path / "m")
    blob = next((tmp_path / "cache").rglob(git_hash(SMALL_FILES["config.json"])))
    blob.write_bytes(b"x" * blob.stat().st_size)
    fetch(server, tmp_path / "n")
    assert (tmp_path / "n" / "config.json").read_bytes() == SMALL_FILES["config.json"]


def test_a_listing_without_checksums_is_refused(server, tmp_path):
    server.bare_listing = True
    assert "no checksum" in refused(DownloadError, fetch, server, tmp_path / "m")


def test_a_hub_that_answers_with_another_commit_is_refused(server, tmp_path):
    server.repositories["model", MODEL].references[FIRST] = SECOND
    assert SECOND in refused(DownloadError, fetch, server, tmp_path / "m", FIRST)


def test_lfs_pointers_are_recognised(tmp_path):
    for text, expected in ((pointer(b"content"), True), (b"sequence,label\n", False), (b"", False)):
        (tmp_path / "file").write_bytes(text)
        assert hub.is_lfs_pointer(tmp_path / "file") is expected


# --- what a repository may lack -------------------------------------------------------------------


def test_pickles_are_refused_with_a_way_out(server, tmp_path):
    files = files_of(server)
    del files["model.safetensors"], files["original/model.safetensors"]
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "pytorch_model.bin" in message and "safetensors only" in message and "save_pretrained" in message
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
        (b'{"weight_map": {}}', "none at all"),
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
    assert "choose one of: t, u" in refused(DataError, fetch_splits, server, tmp_path / "x", "prom_core")
    server.repositories["dataset", DATA].commits[FIRST] = {"data.csv": b""}
    assert "laid out like GUE" in refused(DataError, fetch_splits, server, tmp_path / "x", "prom_core")


# --- refusals of the hub --------------------------------------------------------------------------


def test_an_unknown_repository(server, tmp_path):
    message = refused(DownloadError, hub.fetch_model, "lab/none", "main", tmp_path / "m", endpoint=server.endpoint)
    assert "there is no model lab/none" in message and "private" in message


def test_an_unknown_revision(server, tmp_path):
    assert "no revision v9" in refused(DownloadError, fetch, server, tmp_path / "m", "v9")


def test_a_gated_repository(server, tmp_path):
    server.repositories["model", MODEL].gated = True
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "gated" in message and f"{server.endpoint}/{MODEL}" in message
    server.repositories["dataset", DATA].gated = True
    assert f"{server.endpoint}/datasets/{DATA}" in refused(DownloadError, fetch_splits, server, tmp_path / "t")


def test_a_listed_file_that_is_not_there(server, tmp_path):
    server.statuses["config.json"] = [404]
    assert "HTTP 404" in refused(DownloadError, fetch, server, tmp_path / "m")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "HTTP 400"),
        (401, "refuses access"),
        (403, "refuses access"),
        (404, "HTTP 404"),
        (503, "HTTP 503"),
    ],
)
def test_http_statuses_without_an_explanation(server, tmp_path, status, said):
    server.status = status
    assert said in refused(DownloadError, fetch, server, tmp_path / "m")
    assert len(server.requests) == (3 if status == 503 else 1)


def test_too_many_requests(server, tmp_path):
    server.status = 429
    assert "too many requests" in refused(DownloadError, fetch, server, tmp_path / "m")


def test_a_server_error_that_passes_is_passed_over(server, tmp_path):
    server.statuses = {"model.safetensors": [502, 503], "config.json": [500]}
    fetch(server, tmp_path / "m")


def test_a_server_error_that_stays_is_reported(server, tmp_path):
    server.statuses = {"model.safetensors": [500] * 9}
    assert "out of order (HTTP 500)" in refused(DownloadError, fetch, server, tmp_path / "m")


@pytest.mark.parametrize("answer", [b"<html>welcome to this hotel</html>", b"[]", b"{}", b'{"sha": "x"}', b'"a"'])
def test_an_answer_that_is_not_the_hubs(server, tmp_path, answer):
    server.information = answer
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "not a model hub's" in message or "HTTP" in message


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_unreachable_hub_is_reported_within_seconds(tmp_path, monkeypatch):
    monkeypatch.undo()  # the real waits
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    began = time.monotonic()
    address = f"http://127.0.0.1:{closed_port()}"
    message = refused(DownloadError, hub.fetch_model, MODEL, "main", tmp_path / "m", endpoint=address)
    assert "cannot be reached" in message and "HF_HUB_OFFLINE" in message and address in message
    assert time.monotonic() - began < 10  # 4 s of waiting, and a slow machine


def test_a_hub_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        message = refused(DownloadError, hub.fetch_model, MODEL, "main", tmp_path / "m", endpoint=address)
    assert "cannot be reached (ReadTimeout" in message


@pytest.mark.parametrize(
    "address", ["example", "ftp://example", "http://", "http://a:port", "http://[a", "https://a b"]
)
def test_an_address_that_is_none(tmp_path, address):
    assert "HF_ENDPOINT" in refused(DownloadError, hub.fetch_model, MODEL, "main", tmp_path / "m", endpoint=address)


def test_settings_of_a_proxy_that_cannot_be_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks9://nobody:knows@127.0.0.1:1")
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "ALL_PROXY" in message and "knows" not in message


@pytest.mark.parametrize("name", ["a/b/c", "https://hub/a/b", "../a", "", "a b"])
def test_a_name_that_is_none(server, tmp_path, name):
    arguments = (name, "main", tmp_path / "m")
    assert "owner/name" in refused(DownloadError, hub.fetch_model, *arguments, endpoint=server.endpoint)


@pytest.mark.parametrize("revision", ["", "../../x", "/etc", "a b", "main~1", "a//b"])
def test_a_revision_that_is_none(server, tmp_path, revision):
    assert "is not a revision" in refused(DownloadError, fetch, server, tmp_path / "m", revision)


# --- the token ------------------------------------------------------------------------------------


def test_the_token_opens_a_private_repository(server, tmp_path, monkeypatch):
    server.repositories["model", MODEL].token = TOKEN
    assert "allow the token" in refused(DownloadError, fetch, server, tmp_path / "m", token_allowed=False)
    assert not [request for request in server.requests if "authorization" in request.headers]
    fetch(server, tmp_path / "m")
    monkeypatch.delenv("HF_TOKEN")
    assert "HF_TOKEN" in refused(DownloadError, fetch, server, tmp_path / "n")


def test_the_token_stays_with_the_hub(server, tmp_path):
    server.repositories["model", MODEL].token = TOKEN
    with serve() as storage:
        server.storage = storage
        storage.repositories = server.repositories
        manifest = fetch(server, tmp_path / "m")
    assert manifest["files"] == folder_hashes(tmp_path / "m")
    (request,) = storage.requests
    assert request.path.endswith("model.safetensors")
    assert "authorization" not in request.headers


def test_a_download_from_the_storage_resumes_there(server, tmp_path):
    with serve() as storage:
        server.storage = storage
        storage.repositories = server.repositories
        storage.broken["model.safetensors"] = (150_000, "cut")
        refused(DownloadError, fetch, server, tmp_path / "m")
        storage.broken.clear()
        storage.requests.clear()
        fetch(server, tmp_path / "m")
        assert "range" in storage.requests[0].headers
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)


@pytest.mark.parametrize("token", [f"{TOKEN}\x01", f"{TOKEN} {TOKEN}", f"{TOKEN}é"])
def test_a_token_that_no_header_can_carry(server, tmp_path, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    assert "copy it again" in refused(DownloadError, fetch, server, tmp_path / "m")


# --- the disk -------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that has no room")
def test_a_full_disk(server, tmp_path):
    partial_of(tmp_path, content(1, 300_000)).symlink_to("/dev/full")
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "disk is full" in message and "HF_HOME" in message


def test_a_disk_that_fills_while_publishing(server, tmp_path, monkeypatch):
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(hub.shutil, "copyfile", full)
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "disk is full" in message and str(tmp_path / ".m.") in message


def test_what_cannot_fit_is_refused_before_it_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: SimpleNamespace(free=200_000))
    assert "too little room" in refused(DownloadError, fetch, server, tmp_path / "m")
    assert not [request for request in server.requests if "/resolve/" in request.path]
    partial_of(tmp_path, content(1, 300_000)).write_bytes(content(1, 300_000)[:150_000])
    fetch(server, tmp_path / "m")  # what is there already needs no room


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "cache").write_text("a file where the cache should be")
    assert "HF_HOME" in refused(DownloadError, fetch, server, tmp_path / "m")


def test_a_file_system_without_links(server, tmp_path, monkeypatch):
    def impossible(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", impossible)
    monkeypatch.setattr(os, "link", impossible)
    fetch(server, tmp_path / "m")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetch(server, tmp_path / "n")
    assert folder_hashes(tmp_path / "m") == folder_hashes(tmp_path / "n")
    assert (tmp_path / "m" / "model.safetensors").stat().st_nlink == 1


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
    assert f"revision v1 of {MODEL}" in message and "machine with network first" in message
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
    assert "does not hold" in refused(DownloadError, fetch, server, tmp_path / "m", "main")


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
    assert "config.json undamaged" in refused(DownloadError, fetch, server, tmp_path / "m")


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
    assert fetch(server, tmp_path / "o", "main")["files"] == folder_hashes(tmp_path / "m")


# --- the environment, as a script meets it --------------------------------------------------------


def test_the_standard_variables_are_honoured(server, tmp_path):
    server.repositories["model", MODEL].token = TOKEN
    said, _ = child(server, tmp_path).communicate(timeout=30)
    assert said.strip() == FIRST
    server.requests.clear()
    process = child(server, tmp_path, HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "other"))
    said, _ = process.communicate(timeout=30)
    assert process.returncode == DownloadError.exit_status
    assert "does not hold revision v1" in said and "Traceback" not in said and TOKEN not in said
    assert not server.requests
