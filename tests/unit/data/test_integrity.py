"""A file that is used is the file that was made: flipped, cut, missing and foreign files end in one message."""

import json
import os

import pytest

from dnatune import files
from dnatune.data import integrity
from dnatune.data.integrity import Contents, check, check_file, check_model, contents_of
from dnatune.data.records import read_csv, read_split, write_split
from dnatune.errors import REPEATING, DataError
from dnatune.files import digest, folder_hashes
from dnatune.training.record import Run
from run_records import run_record
from samples import TASK, split_of

WEIGHTS = "model-00001-of-00002.safetensors"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "below").mkdir(parents=True)
    for name in ("config.json", WEIGHTS, "below/other.txt"):
        (folder / name).write_text(name * 50)
    contents_of(folder).write(folder / "manifest.json")
    return folder


def flip(path):
    """Change one bit, and leave size and date as they were."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_was_made_is_taken_whatever_its_date(model):
    os.utime(model / WEIGHTS, (1, 1))
    assert check_model(model) == digest(folder_hashes(model))
    (model / "manifest.json").unlink()
    assert check_model(model) == digest(folder_hashes(model))


@pytest.mark.fault("flipped, cut, missing and foreign files")
@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "below/other.txt"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "the file has changed since it was made"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "the file has changed since it was made"),
        (lambda path: path.write_bytes(b""), "the file has changed since it was made"),
        (lambda path: path.unlink(), "the file is missing"),
    ],
)
def test_damage_names_the_file_and_is_not_tried_again(model, name, damage, said):
    damage(model / name)
    with pytest.raises(DataError, match=said) as caught:
        check_model(model)
    assert caught.value.where == str(model / name)
    assert "delete the folder" in caught.value.fix
    assert isinstance(caught.value, REPEATING)


def test_several_files_are_named(model):
    flip(model / "config.json")
    (model / WEIGHTS).unlink()
    with pytest.raises(DataError) as caught:
        check_model(model)
    assert {"config.json", WEIGHTS} == {name for name in ("config.json", WEIGHTS) if name in str(caught.value)}


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_a_file_that_nobody_made_is_refused(model):
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="not one of this model's") as caught:
        check_model(model)
    assert caught.value.where.endswith("adapter_config.json")


def test_a_large_file_is_read_if_its_date_differs_or_the_site_says_so(model, monkeypatch):
    monkeypatch.setattr(integrity, "_SMALL_BYTES", 100)
    contents_of(model).write(model / "manifest.json")
    assert WEIGHTS in Contents.read(model / "manifest.json").large
    flip(model / WEIGHTS)
    check_model(model)
    monkeypatch.setenv(files.VERIFY, "1")
    with pytest.raises(DataError, match="has changed"):
        check_model(model)
    monkeypatch.delenv(files.VERIFY)
    os.utime(model / WEIGHTS)
    with pytest.raises(DataError, match="has changed"):
        check_model(model)


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_a_csv_that_was_edited_among_the_results_is_refused(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("sequence,label\nACGT,0\nTTTT,1\n")
    contents_of(tmp_path).write(tmp_path / "manifest.json")
    assert len(read_csv(path, TASK)) == 2
    path.write_text("sequence,label\nACGT,1\nTTTT,1\n")
    with pytest.raises(DataError, match="has changed") as caught:
        read_csv(path, TASK)
    assert caught.value.where == str(path)
    assert "source" in caught.value.fix


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_records_that_were_edited_are_refused(tmp_path):
    path = tmp_path / "train.jsonl"
    write_split(path, split_of([("ACGT", 0), ("TTTT", 1)]), TASK.labels)
    integrity.write_manifest(tmp_path, ["train.jsonl"])
    assert len(read_split(path, TASK.labels)) == 2
    path.write_text(path.read_text("utf-8").replace("ACGT", "ACGA"), "utf-8")
    with pytest.raises(DataError, match="has changed"):
        read_split(path, TASK.labels)


def test_a_file_that_no_manifest_names_is_taken(tmp_path):
    (tmp_path / "mine.csv").write_text("")
    check_file(tmp_path / "mine.csv", "")
    Contents(files={"other.csv": "0"}, large={}).write(tmp_path / "manifest.json")
    check_file(tmp_path / "mine.csv", "")


@pytest.mark.parametrize("line", ["[]", "3", "null", '"text"'])
def test_what_is_no_map_is_no_record(tmp_path, line):
    path = tmp_path / "train.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match="stands where a record is due"):
        read_split(path, TASK.labels)


def test_a_changed_number_in_a_record_is_found(tmp_path):
    path = tmp_path / "run.json"
    run_record().write(path)
    written = path.read_text()
    path.write_text(written.replace('"final_loss": 0.4', '"final_loss": 0.5'))
    with pytest.raises(DataError, match="has changed since it was written"):
        Run.read(path)
    # Who edits a record says so by leaving the digest out.
    edited = json.loads(path.read_text())
    del edited["digest"]
    path.write_text(json.dumps(edited))
    assert Run.read(path).final_loss == 0.5


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_a_flipped_bit_in_any_byte_of_a_record_is_found_or_changes_nothing(tmp_path, record_property):
    path = tmp_path / "run.json"
    run = run_record()
    run.write(path)
    written = path.read_bytes()
    record_property("cases", len(written))
    missed = []
    for place in range(len(written)):
        changed = bytearray(written)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            if Run.read(path) != run:
                missed.append(place)
        except DataError:
            continue
    assert missed == []


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_an_adapter_that_is_not_the_runs_own_is_refused(tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_text("weights")
    made = contents_of(adapter).below("adapter")
    run = run_record(outputs=made.model_dump())
    run.check_outputs(tmp_path / "run.json")
    flip(adapter / "adapter_model.safetensors")
    with pytest.raises(DataError, match="has changed") as caught:
        run.check_outputs(tmp_path / "run.json")
    assert caught.value.where == str(adapter / "adapter_model.safetensors")
    with pytest.raises(DataError):
        check(tmp_path, made, "")
