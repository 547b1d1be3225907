"""A task is found in a folder under its own name and under GUE's, and a folder without it says what it has."""

import logging

import pytest

from dnatune.data.sources import download_data, task_folder
from dnatune.errors import DataError
from dnatune.settings.sources import DataSettings, Folder
from dnatune.settings.tasks import GUE, SPLITS

#: The archive that GUE's authors released (github.com/MAGICS-LAB/DNABERT_2): its folders, and the tasks' names here.
RELEASED = {
    "GUE/prom/prom_core_all": "prom_core_all",
    "GUE/prom/prom_300_tata": "prom_300_tata",
    "GUE/EMP/H3": "emp_H3",
    "GUE/EMP/H3K4me1": "emp_H3K4me1",
    "GUE/tf/0": "human_tf_0",
    "GUE/mouse/4": "mouse_4",
    "GUE/splice/reconstructed": "splice_reconstructed",
    "GUE/virus/covid": "virus_covid",
}


def of(task, root):
    return DataSettings(source="directory", task=task, directory=Folder(path=str(root)))


def write_task(folder, text="sequence,label\nACGT,0\n"):
    folder.mkdir(parents=True)
    for split in SPLITS:
        (folder / f"{split}.csv").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize(("place", "task"), RELEASED.items())
def test_gue_is_found_as_it_was_released(tmp_path, place, task):
    folder = write_task(tmp_path / place)
    for root in (tmp_path, tmp_path / "GUE"):
        assert task_folder(of(task, root)) == folder
    download_data(of(task, tmp_path), tmp_path / "download")
    assert (tmp_path / "download/train.csv").is_file()


def test_every_task_has_a_folder_of_its_own(tmp_path):
    for task in GUE:
        write_task(tmp_path / task, task)
    assert [task_folder(of(task, tmp_path)).name for task in GUE] == list(GUE)


def test_the_name_of_the_hub_comes_first(tmp_path):
    write_task(tmp_path / "GUE/tf/0")
    flat = write_task(tmp_path / "GUE/human_tf_0")
    assert task_folder(of("human_tf_0", tmp_path)) == flat


def test_what_is_there_is_told_if_nothing_fits(tmp_path):
    write_task(tmp_path / "GUE/tf/0")
    write_task(tmp_path / "promoters")
    with pytest.raises(DataError) as caught:
        download_data(of("emp_H3", tmp_path), tmp_path / "download")
    assert "no folder for the task emp_H3 (emp_H3 or EMP/H3" in caught.value.what
    assert "the folders with a train.csv are GUE/tf/0, promoters" in caught.value.what
    with pytest.raises(DataError, match=r"no folder there has a train\.csv"):
        download_data(of("emp_H3", tmp_path / "promoters"), tmp_path / "download")
    with pytest.raises(DataError, match="the folder does not exist"):
        download_data(of("emp_H3", tmp_path / "nowhere"), tmp_path / "download")


def test_a_name_of_ones_own_is_no_folder_of_gue(tmp_path):
    write_task(tmp_path / "EMP/mine")
    with pytest.raises(DataError, match=r"no folder for the task emp_mine \(emp_mine, there"):
        download_data(of("emp_mine", tmp_path), tmp_path / "download")


def test_a_link_out_of_the_folder_is_told(tmp_path, caplog):
    folder = write_task(tmp_path / "data/prom_core_all")
    other = (folder / "dev.csv").rename(tmp_path / "elsewhere.csv")
    (folder / "dev.csv").symlink_to(other)
    (folder / "test.csv").unlink()
    (folder / "test.csv").symlink_to("train.csv")
    with caplog.at_level(logging.WARNING):
        download_data(of("prom_core_all", tmp_path / "data"), tmp_path / "download")
    assert [record.message for record in caplog.records] == [
        f"{folder}/dev.csv is a symbolic link that leads out of its folder, to {other}"
    ]
