"""What is kept of a run comes back if it has gone and still is what is asked for."""

import os

import pytest

from dnatune.kept import FOLDER, give_back, keep

NAMES = ("run.json", "training.jsonl")


@pytest.fixture(params=["hard links", "no hard links"])
def folder(tmp_path, monkeypatch, request):
    """A folder whose files are kept and were written yesterday."""
    if request.param == "no hard links":

        def refuse(*_):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    for name in NAMES:
        (tmp_path / name).write_text(name, "utf-8")
    keep(tmp_path, NAMES)
    for name in NAMES:
        os.utime(tmp_path / name, (1, 1))
    return tmp_path


@pytest.mark.parametrize("gone", [(), NAMES[:1], NAMES])
def test_what_has_gone_comes_back_and_counts_as_written_now(folder, gone):
    for name in gone:
        (folder / name).unlink()
    assert give_back(folder, lambda: True)
    for name in NAMES:
        assert (folder / name).read_text("utf-8") == name
        assert (folder / name).stat().st_mtime > 1


def test_what_does_not_fit_does_not_come_back(folder):
    (folder / NAMES[0]).unlink()
    seen = []
    assert not give_back(folder, lambda: seen.append((folder / NAMES[0]).read_text("utf-8")))
    # It was there when the question was asked.
    assert seen == [NAMES[0]]
    assert not (folder / NAMES[0]).exists()
    assert (folder / NAMES[1]).stat().st_mtime == 1


def test_what_has_been_written_anew_is_not_replaced(folder):
    (folder / NAMES[0]).unlink()
    (folder / NAMES[0]).write_text("new", "utf-8")
    assert give_back(folder, lambda: True)
    assert (folder / NAMES[0]).read_text("utf-8") == "new"
    keep(folder, NAMES[:1])
    assert [path.read_text("utf-8") for path in (folder / FOLDER).iterdir()] == ["new"]


def test_a_folder_of_which_nothing_is_kept(tmp_path):
    assert not give_back(tmp_path, lambda: False)
    assert give_back(tmp_path, lambda: True)
