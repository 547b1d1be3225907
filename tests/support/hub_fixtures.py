"""Shared by the tests of dnatune.data.hub: a hub with a model and a data set, a clean environment, ways to fetch.

A test file imports the fixtures as `environment as environment`, so that pytest finds them and the linter counts them
as used. They are not in a conftest.py, because `environment` must not apply to other tests.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from dnatune.data import hub
from dnatune.data.hub import repository
from dnatune.errors import DnatuneError
from hub_server import Hub, Repository, serve

TOKEN = "hf_" + "secret" * 4
FIRST, SECOND = "1" * 40, "2" * 40
MODEL, DATA = "lab/tiny", "lab/GUE"
LIBRARY = Path(hub.__file__).parents[3]


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
#: Files that must never be fetched: other formats, code, other weights in the same format, unrelated files.
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
    """Give each test its own cache and a secret token, and check that no output contains the token."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-login"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Otherwise the client asks the public hub for a list of known programs for its user agent.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 16384)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # No waiting before requests are repeated.
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(repository, "_WAITS", (0.0, 0.0))
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
    """Return the message of the error that a call must raise; check that it leaves no files and shows no secret."""
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert TOKEN not in message
    assert caught.value.fix, "the error does not say what to do"
    destination = next(argument for argument in arguments if isinstance(argument, Path))
    assert not destination.exists()
    assert not destination.parent.exists() or not list(destination.parent.glob(f".{destination.name}.*"))
    return message


def wait_for(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def child(server: Hub, tmp_path: Path, *, chunk: int = 16384, **environment: str) -> subprocess.Popen:
    """Start a process that fetches the model to <tmp_path>/m, as a script would."""
    program = (
        "import sys; from pathlib import Path\n"
        f"from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {chunk}\n"
        "from dnatune.errors import run_script; from dnatune.data.hub import fetch_model\n"
        f"run_script(lambda: print(fetch_model({MODEL!r}, 'v1', Path(sys.argv[1])).revision))"
    )
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(LIBRARY),
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
    """Return the path of the partial download of a large file of the model."""
    blobs = tmp_path / "cache" / "models--lab--tiny" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    return blobs / f"{hashlib.sha256(data).hexdigest()}.dnatune-partial"
