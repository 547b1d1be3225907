"""Bad CSV ends in one message that names file and row; good CSV becomes records."""

import pytest

from dnatune.data.records import instruction_records, read_csv, read_records, write_records
from dnatune.data.tasks import GUE
from dnatune.errors import DataError


def written(tmp_path, content):
    path = tmp_path / "train.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "what", "where"),
    [
        ("sequence\nACGT\n", "missing column label", "header"),
        ("sequence,label,extra\nACGT,0,1\n", "extra column 'extra'", "header"),
        ("label,sequence\n0,ACGT\n", "columns are label,sequence", "header"),
        ("", "the file is empty", ""),
        ("sequence,label\n", "no rows", ""),
        ("sequence,label\nACGT,0\nACXT,1\n", "base 'X'", "row 1, column sequence"),
        ("sequence,label\nACGT,0\nACGT,2\n", "unknown label '2'", "row 1, column label"),
        ("sequence,label\nACGT,promoter\n", "unknown label 'promoter'", "row 0, column label"),
        ("sequence,label\nACGT,-1\n", "unknown label '-1'", "row 0, column label"),
        ("sequence,label\nACGT,²\n", "unknown label '²'", "row 0, column label"),
        ("sequence,label\nACGT,0\n,1\n", "the sequence is empty", "row 1"),
        ("sequence,label\nACGT,0,7\n", "3 fields in place of 2", "row 0"),
        (b"sequence,label\nACGT,0\nAC\xff,1\n", "not UTF-8 text: byte 0xff", "row 1"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git-lfs pointer", ""),
    ],
)
def test_bad_csv_is_named(tmp_path, content, what, where):
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_csv(path, 2)
    assert what in caught.value.what
    assert str(path) in caught.value.where and where in caught.value.where
    assert caught.value.fix


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="file not found"):
        read_csv(tmp_path / "dev.csv", 2)


def test_allowed_bases_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        read_csv(written(tmp_path, "sequence,label\nACU,0\n"), 2)
    assert "A, C, G, T and N" in caught.value.fix


def test_lower_case_windows_lines_and_byte_order_mark(tmp_path):
    path = written(tmp_path, b"\xef\xbb\xbfsequence,label\r\nacgtn,1\r\n")
    assert read_csv(path, 2) == [("ACGTN", 1)]


def test_records_keep_row_order_and_words(tmp_path):
    task = GUE["prom_core_all"]
    write_records(tmp_path / "r.jsonl", instruction_records([("ACG", 1), ("TTT", 0)], task))
    assert read_records(tmp_path / "r.jsonl") == [
        {"instruction": task.instruction, "input": "ACG", "output": "promoter"},
        {"instruction": task.instruction, "input": "TTT", "output": "Non-promoter"},
    ]


def test_published_sizes(shared):
    for name in ("prom_core_all", "prom_core_tata", "human_tf_0"):
        task = GUE[name]
        rows = [read_csv(shared / "GUE/GUE" / name / f"{split}.csv", 2) for split in ("train", "dev", "test")]
        assert tuple(map(len, rows)) == task.sizes
        assert {len(sequence) for sequence, _ in rows[2]} == {task.length}


def test_gue_has_28_tasks():
    assert len(GUE) == 28
    assert {task.metric for task in GUE.values()} == {"mcc", "f1_macro"}
    assert len(GUE["virus_covid"].labels) == 9 and len(GUE["splice_reconstructed"].labels) == 3
