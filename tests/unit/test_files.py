"""Files appear whole or not at all."""

import pytest

from dnatune import files
from dnatune.errors import DataError


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
