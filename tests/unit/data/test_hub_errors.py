import socket
import time

import pytest
from huggingface_hub import constants

from dnatune.data.hub import fetch_model
from dnatune.errors import DownloadError
from dnatune.files import folder_hashes
from hub_fixtures import DATA, MODEL, TOKEN, content, fetch, fetch_splits, refused
from hub_fixtures import environment as environment
from hub_fixtures import server as server
from hub_server import serve

# --- errors of the hub ----------------------------------------------------------------------------


def test_an_unknown_repository(server, tmp_path):
    message = refused(DownloadError, fetch_model, "lab/none", "main", tmp_path / "m", endpoint=server.endpoint)
    assert "lab/none" in message and "private" in message


def test_an_unknown_revision(server, tmp_path):
    assert "revision v9" in refused(DownloadError, fetch, server, tmp_path / "m", "v9")


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
        (401, "HTTP 401"),
        (403, "HTTP 403"),
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
    assert "HTTP 429" in refused(DownloadError, fetch, server, tmp_path / "m")


def test_a_server_error_that_passes_is_passed_over(server, tmp_path):
    server.statuses = {"model.safetensors": [502, 503], "config.json": [500]}
    fetch(server, tmp_path / "m")


def test_a_server_error_that_stays_is_reported(server, tmp_path):
    server.statuses = {"model.safetensors": [500] * 9}
    assert "HTTP 500" in refused(DownloadError, fetch, server, tmp_path / "m")


@pytest.mark.parametrize("response", [b"<html>welcome to this hotel</html>", b"[]", b"{}", b'{"sha": "x"}', b'"a"'])
def test_a_response_that_is_not_from_a_hub(server, tmp_path, response):
    server.information = response
    assert "HF_ENDPOINT" in refused(DownloadError, fetch, server, tmp_path / "m")


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
    message = refused(DownloadError, fetch_model, MODEL, "main", tmp_path / "m", endpoint=address)
    assert "HF_HUB_OFFLINE" in message and address in message
    assert time.monotonic() - began < 10  # 4 s of waiting, and a slow machine


def test_a_hub_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        message = refused(DownloadError, fetch_model, MODEL, "main", tmp_path / "m", endpoint=address)
    assert "ReadTimeout" in message


@pytest.mark.parametrize(
    "address", ["example", "ftp://example", "http://", "http://a:port", "http://[a", "https://a b"]
)
def test_an_address_that_is_none(tmp_path, address):
    assert "HF_ENDPOINT" in refused(DownloadError, fetch_model, MODEL, "main", tmp_path / "m", endpoint=address)


def test_settings_of_a_proxy_that_cannot_be_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "socks9://nobody:knows@127.0.0.1:1")
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "ALL_PROXY" in message and "knows" not in message


@pytest.mark.parametrize("name", ["a/b/c", "https://hub/a/b", "../a", "", "a b"])
def test_a_name_that_is_none(server, tmp_path, name):
    arguments = (name, "main", tmp_path / "m")
    assert "owner/name" in refused(DownloadError, fetch_model, *arguments, endpoint=server.endpoint)


@pytest.mark.parametrize("revision", ["", "../../x", "/etc", "a b", "main~1", "a//b"])
def test_a_revision_that_is_none(server, tmp_path, revision):
    assert repr(revision) in refused(DownloadError, fetch, server, tmp_path / "m", revision)
    assert not server.requests


# --- the token ------------------------------------------------------------------------------------


def test_the_token_opens_a_private_repository(server, tmp_path, monkeypatch):
    server.repositories["model", MODEL].token = TOKEN
    assert "HF_TOKEN" in refused(DownloadError, fetch, server, tmp_path / "m", token_allowed=False)
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
    assert manifest.files == folder_hashes(tmp_path / "m")
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
    assert "HF_TOKEN" in refused(DownloadError, fetch, server, tmp_path / "m")
    assert not server.requests
