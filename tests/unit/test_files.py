"""Files appear whole or not at all."""

import errno
import os
import stat

import pytest

from dnatune import files
from dnatune.errors import DataError
from kills import kill_at_each_operation


@pytest.fixture(params=["exchange", "no exchange"])
def renaming(request, monkeypatch):
    """File systems that exchange two names in one operation, and those that cannot, such as NFS."""
    if request.param == "no exchange":
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    return request.param


def publish(target, text):
    with files.publish_folder(target) as scratch:
        (scratch / "a").write_text(text)
        (scratch / "b").write_text(text)


def test_an_error_leaves_the_old_file_and_no_scratch(tmp_path):
    target = tmp_path / "a.json"
    files.write_json(target, {"old": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(target, {"new": float("nan")})
    assert files.read_json(target) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_only_by_a_whole_one(tmp_path):
    target = tmp_path / "model"
    with files.publish_folder(target) as scratch:
        (scratch / "a").write_text("1")
    with pytest.raises(OSError, match="no space"), files.publish_folder(target) as scratch:
        (scratch / "a").write_text("2")
        raise OSError("no space")
    assert (target / "a").read_text() == "1"
    with files.publish_folder(target) as scratch:
        (scratch / "b").write_text("3")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.fault("SIGKILL before each file operation")
def test_a_folder_that_is_replaced_is_whole_whenever_the_process_is_killed(tmp_path, renaming, record_property):
    target = tmp_path / "model"
    publish(target, "old")
    absent = 0
    for number in kill_at_each_operation(lambda: publish(target, "new")):
        if target.exists():
            assert {(target / name).read_text() for name in ("a", "b")} in ({"old"}, {"new"})
            assert len(list(target.iterdir())) == 2, number
        else:
            absent += 1
            publish(target, "old")
    assert number > 8
    record_property("cases", number)
    assert absent == (renaming == "no exchange")
    assert (target / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path, renaming, monkeypatch):
    target = tmp_path / "model"
    publish(target, "old")

    def refuse(path):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"), files.publish_folder(target) as scratch:
        (scratch / "a").write_text("new")
        monkeypatch.setattr(files, "sync_folder", refuse)
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_another_process_is_writing_is_not_removed(tmp_path):
    with files.publish_folder(tmp_path / "model") as scratch:
        (scratch / "a").write_text("1")
        publish(tmp_path / "model", "2")
        assert (scratch / "a").read_text() == "1"


def test_everything_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    synced = set()
    fsync, rename = os.fsync, files._exchange

    def note(descriptor):
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    def check(scratch, path):
        assert {entry.stat().st_ino for entry in [scratch, *scratch.rglob("*")]} <= synced
        return rename(scratch, path)

    (tmp_path / "model").mkdir()
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(files, "_exchange", check)
    publish(tmp_path / "model", "new")
    assert tmp_path.stat().st_ino in synced
    synced.clear()
    files.write_json(tmp_path / "a.json", {})
    assert synced == {(tmp_path / "a.json").stat().st_ino, tmp_path.stat().st_ino}


def test_a_file_system_that_cannot_sync_a_folder_is_good_enough(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    publish(tmp_path / "model", "new")
    assert (tmp_path / "model/a").read_text() == "new"


def test_weights_can_be_read_by_whom_the_umask_lets(tmp_path):
    from safetensors.numpy import save_file

    with files.publish_folder(tmp_path / "model") as scratch:
        (scratch / "below").mkdir(mode=0o700)
        save_file({}, scratch / "below/model.safetensors")
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/file").write_text("")
    for made in (tmp_path / "model", tmp_path / "model/below"):
        assert made.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "model/below/model.safetensors").stat().st_mode == (tmp_path / "plain/file").stat().st_mode


def test_published_files_have_ordinary_permissions(tmp_path):
    (tmp_path / "plain").write_text("")
    files.write_json(tmp_path / "a.json", {})
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_digests_tell_values_apart_and_ignore_order():
    assert files.digest({"a": 1, "b": [2]}) == files.digest({"b": [2], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 2})


def test_known_hash(tmp_path):
    (tmp_path / "abc").write_text("abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_of_file(tmp_path / "abc") == known
    assert files.folder_hashes(tmp_path) == {"abc": known}


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a":\n')
    with pytest.raises(DataError) as caught:
        files.read_json_lines(tmp_path / "x.jsonl")
    assert "line 2" in caught.value.where
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="not valid JSON"):
        files.read_json(tmp_path / "deep.json")
