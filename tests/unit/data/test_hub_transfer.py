import errno
import os
import shutil
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from dnatune.errors import DownloadError
from dnatune.files import folder_hashes, is_lfs_pointer
from hub_fixtures import (
    DATA,
    FIRST,
    MODEL,
    SECOND,
    SMALL_FILES,
    child,
    content,
    fetch,
    fetch_splits,
    files_of,
    partial_of,
    refused,
    wait_for,
)
from hub_fixtures import environment as environment
from hub_fixtures import server as server
from hub_server import git_hash, pointer

# --- interruptions --------------------------------------------------------------------------------


def test_a_broken_connection_is_an_error_and_the_next_run_resumes(server, tmp_path):
    server.broken["model.safetensors"] = (150_000, "cut")
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert server.endpoint in message and "continued" in message
    server.broken.clear()
    server.requests.clear()
    manifest = fetch(server, tmp_path / "m")
    ranges = [request.headers.get("range") for request in server.of_file("model.safetensors")]
    start = int(ranges[0].removeprefix("bytes=").removesuffix("-"))
    # Bytes still in a buffer of the client when the connection broke may be lost, a chunk at most.
    assert len(ranges) == 1 and 150_000 - constants.DOWNLOAD_CHUNK_SIZE <= start <= 150_000
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)
    assert manifest.files == folder_hashes(tmp_path / "m")
    assert not list((tmp_path / "cache").rglob("*partial"))
    assert not server.of_file("config.json"), "what was whole is not fetched again"


def test_a_reset_connection_is_an_error_and_the_next_run_is_right(server, tmp_path):
    server.broken["model.safetensors"] = (150_000, "reset")
    assert server.endpoint in refused(DownloadError, fetch, server, tmp_path / "m")
    server.broken.clear()
    assert fetch(server, tmp_path / "m").files == folder_hashes(tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == content(1, 300_000)


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
    assert fetch(server, tmp_path / "m").files == folder_hashes(tmp_path / "m")
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
        assert is_lfs_pointer(tmp_path / "file") is expected


# --- the disk -------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that has no room")
def test_a_full_disk(server, tmp_path):
    partial_of(tmp_path, content(1, 300_000)).symlink_to("/dev/full")
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "full" in message and "HF_HOME" in message


def test_a_disk_that_fills_while_publishing(server, tmp_path, monkeypatch):
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))

    monkeypatch.setattr(shutil, "copyfile", full)
    message = refused(DownloadError, fetch, server, tmp_path / "m")
    assert "full" in message and str(tmp_path / ".m.") in message


def test_what_cannot_fit_is_refused_before_it_is_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=200_000))
    assert " 0.0 GB free" in refused(DownloadError, fetch, server, tmp_path / "m")
    assert not [request for request in server.requests if "/resolve/" in request.path]
    partial_of(tmp_path, content(1, 300_000)).write_bytes(content(1, 300_000)[:150_000])
    fetch(server, tmp_path / "m")  # the part that is already there needs no space


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
