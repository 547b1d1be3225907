"""Spoilt CSV files are refused with file and line, or every row of them is prepared. docs/what-is-accepted.md."""

import json
import re
import sys

import pytest

import mutations
from dnatune.commands import prepare
from dnatune.data import near_copies
from dnatune.data.records import read_split
from dnatune.errors import DataError
from workflow_runs import files_below, small

TASK = {"name": "mine", "labels": ["no", "yes"], "instruction": "Is it one?"}
MADE = ["audit.json", "dev.jsonl", "manifest.json", "test.jsonl", "train.jsonl"]


def rows_of(content: bytes) -> list[tuple[str, str]]:
    """The rows of a CSV file that is accepted, read without a reader of CSV; letters for several bases become N."""
    lines = re.split("\r\n|\r|\n", content.decode("utf-8-sig").rstrip("\r\n"))
    fields = [line.replace('"', "").split(",") for line in lines]
    assert fields[0] == ["sequence", "label"]
    known = [(re.sub("[RYSWKMBDHV]", "N", sequence.upper()), label) for sequence, label in fields[1:]]
    return [(sequence, TASK["labels"][int(label)]) for sequence, label in known]


def check(count, tmp_path, monkeypatch, caplog):
    """Prepare that many spoilt tasks; return how many were accepted."""
    source, folder, experiment = tmp_path / "source", tmp_path / "prepared", tmp_path / "experiment.json"
    source.mkdir()
    experiment.write_text(json.dumps(small(tasks=[{**TASK, "path": str(source)}])), "utf-8")
    arguments = ["--experiment", experiment, "--task", "mine", "--source", source, "--folder", folder]
    monkeypatch.setattr(sys, "argv", ["prepare", *map(str, arguments)])
    # The audit's tables have 4^K rows, whatever the number of sequences: 16 million take half a second per task.
    monkeypatch.setattr(near_copies, "K", 6)
    accepted = 0
    for number, (said, files) in enumerate(mutations.csv_files(1, count)):
        for split, content in files.items():
            (source / f"{split}.csv").write_bytes(content)
        caplog.clear()
        try:
            prepare.main()
        except DataError as error:
            assert error.where.startswith(str(source)) and error.fix and len(str(error)) < 1000, f"{number}: {said}"
            assert files_below(folder) == [], f"{number}: {said}"
            continue
        except Exception as error:
            raise AssertionError(f"{number}: {said}: {type(error).__name__}: {error}"[:500]) from None
        accepted += 1
        assert files_below(folder) == MADE, f"{number}: {said}"
        for split, content in files.items():
            prepared, expected = read_split(folder / f"{split}.jsonl", TASK["labels"]), rows_of(content)
            words = [TASK["labels"][label] for label in prepared.labels]
            assert list(zip(prepared.sequences, words, strict=True)) == expected, f"{number}: {said}"
            one_class = len(set(words)) == 1
            assert (f"every row of {split}.csv is of class" in caplog.text) == one_class, f"{number}: {said}"
        for name in MADE:
            (folder / name).unlink()
    return accepted


def test_no_spoilt_csv_file_ends_in_a_traceback(tmp_path, monkeypatch, caplog):
    assert 20 < check(200, tmp_path, monkeypatch, caplog) < 120


@pytest.mark.fault("spoilt CSV files")
@pytest.mark.slow
def test_no_spoilt_csv_file_of_2000_ends_in_a_traceback(tmp_path, monkeypatch, caplog, record_property):
    record_property("cases", 2000)
    assert 200 < check(2000, tmp_path, monkeypatch, caplog) < 1200
