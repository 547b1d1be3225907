"""A bad file ends in one message that names file and line; a good one becomes a split, and is written and read back."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnatune.data.records import Split, cautions, read_csv, read_split, write_split
from dnatune.data.sources import download_data
from dnatune.errors import DataError
from dnatune.settings.sources import DataSettings, Folder
from dnatune.settings.tasks import GUE
from samples import TASK, rows_of, split_of

DNA = st.text("ACGTNacgtn", min_size=1, max_size=30)


def written(tmp_path, content):
    path = tmp_path / "train.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "what", "where"),
    [
        ("sequence\nACGT\n", "missing column label", "line 1, the header"),
        ("sequence,label,extra\nACGT,0,1\n", "extra column 'extra'", "line 1, the header"),
        ("label,sequence\n0,ACGT\n", "columns are label,sequence", "line 1, the header"),
        ("", "the file is empty", ""),
        ("\r\n", "the file is empty", ""),
        ("sequence,label\n", "no rows", ""),
        ("sequence,label\nACGT,0\nACXT,1\n", "base 'X'", "line 3, column sequence"),
        ("sequence,label\rACGT,0\rACXT,1\r", "base 'X'", "line 3, column sequence"),
        ("sequence,label\nACGT,0\nACGT,2\n", "unknown label '2'", "line 3, column label"),
        ("sequence,label\nACGT,01\n", "unknown label '01'", "line 2, column label"),
        ("sequence,label\nACGT,promoter\n", "unknown label 'promoter'", "line 2, column label"),
        ("sequence,label\nACGT,-1\n", "unknown label '-1'", "line 2, column label"),
        ("sequence,label\nACGT,²\n", "unknown label '²'", "line 2, column label"),
        ("sequence,label\nACGT,0\n,1\n", "the sequence is empty", "line 3, column sequence"),
        ("sequence,label\nACGT,0,7\n", "3 fields in place of 2", "line 2"),
        ("sequence,label\nACGT,0\n\nACGT,1\n", "0 fields in place of 2", "line 3"),
        ('sequence,label\n"AC\nGT",0\n', r"base '\n'", "line 2, column sequence"),
        ('sequence,label\nACGT,0\n"ACGT,0\nACGT,1\n', "a quotation mark is never closed", "line 3"),
        ('sequence,label\n"AC"GT,0\n', "not CSV", "line 2"),
        (f"sequence,label\nACGT,{'9' * 5000}\n", "unknown label '999", "line 2, column label"),
        (f"sequence,{'a' * 5000}\nACGT,0\n", "missing column label; extra column 'aaa", "line 1, the header"),
        ("sequence,label\nNNN,0\nnn,1\n", "every base of every sequence is N", ""),
        (b"sequence,label\nACGT,0\nAC\xff,1\n", "not UTF-8 text: byte 0xff", "line 3"),
        (b"sequence,label\r\nAC\x00GT,0\r\n", "not UTF-8 text: byte 0x00", "line 2"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git-lfs pointer", ""),
    ],
)
def test_bad_csv_is_named(tmp_path, content, what, where):
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_csv(path, TASK)
    assert what in caught.value.what and len(caught.value.what) < 200
    assert caught.value.where == ", ".join(filter(None, [str(path), where]))
    assert caught.value.fix


@pytest.mark.parametrize("letter", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_letter_that_ends_a_line_elsewhere_ends_none_here(tmp_path, letter):
    with pytest.raises(DataError) as caught:
        read_csv(written(tmp_path, f"sequence,label\nACGT,0\nAC{letter}GT,1\n"), TASK)
    assert caught.value.what == f"base {letter!r} in a sequence"
    assert caught.value.where.endswith("line 3, column sequence")


def test_one_class_and_sequences_of_n_alone_are_told():
    assert cautions("dev", split_of([("ACGT", 0), ("AN", 1)]), TASK.labels) == []
    assert cautions("dev", split_of([("A", 1), ("N", 1), ("NN", 1)]), TASK.labels) == [
        "every row of dev.csv is of class promoter, so nothing there is told apart",
        "2 of 3 sequences of dev.csv are of N alone, the first in line 3: they can be answered by chance only",
    ]


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="file not found"):
        read_csv(tmp_path / "dev.csv", TASK)


def test_allowed_bases_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        read_csv(written(tmp_path, "sequence,label\nACU,0\n"), TASK)
    assert "A, C, G, T and N" in caught.value.fix


@given(
    st.lists(st.tuples(DNA, st.integers(0, 1)), min_size=1, max_size=8).filter(
        lambda rows: any(sequence.strip("Nn") for sequence, _ in rows)
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
    st.integers(0, 2),
)
def test_a_good_file_is_read_however_it_is_saved(tmp_path_factory, rows, end, quoting, mark, blank):
    path = tmp_path_factory.getbasetemp() / "good.csv"
    with path.open("w", newline="", encoding="utf-8-sig" if mark else "utf-8") as stream:
        writer = csv.writer(stream, lineterminator=end, quoting=quoting)
        writer.writerows([("sequence", "label"), *rows])
        stream.write(end * blank)
    expected = [(sequence.upper(), label) for sequence, label in rows]
    assert read_csv(path, TASK) == split_of(expected)
    content = path.read_bytes().rstrip(b"\r\n")
    path.write_bytes(content + end.encode() + b"ACGT,x")
    with pytest.raises(DataError) as caught:
        read_csv(path, TASK)
    assert caught.value.where.endswith(f"line {len(rows) + 2}, column label")


def test_a_sequence_longer_than_a_field_of_csv_is_read(tmp_path):
    long = "ACGT" * 50_000
    assert read_csv(written(tmp_path, f"sequence,label\n{long},1\n"), TASK).sequences == [long]


@pytest.mark.parametrize("own", [True, False], ids=["the task's path", "the common path"])
def test_a_message_names_the_file_that_was_copied(tmp_path, monkeypatch, own):
    folder = tmp_path / "home/mine" if own else tmp_path / "home/GUE/prom_core_all"
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (folder / f"{split}.csv").write_text("sequence,label\nACGT,7\n", "utf-8")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = Folder(path="~/mine" if own else "~")
    settings = DataSettings(source="directory", task="prom_core_all", directory=folder, own=own)
    download_data(settings, tmp_path / "copy")
    with pytest.raises(DataError) as caught:
        read_csv(tmp_path / "copy/dev.csv", TASK)
    named = "~/mine/dev.csv" if own else "~/GUE/prom_core_all/dev.csv"
    assert caught.value.where == f"{named}, line 2, column label"


def test_records_keep_order_and_words(tmp_path):
    split = Split(TASK.instruction, ["ACG", "TTT"], [1, 0])
    write_split(tmp_path / "r.jsonl", split, TASK.labels)
    assert [json.loads(line) for line in (tmp_path / "r.jsonl").read_text("utf-8").splitlines()] == [
        {"instruction": TASK.instruction, "input": "ACG", "output": "promoter"},
        {"instruction": TASK.instruction, "input": "TTT", "output": "Non-promoter"},
    ]
    assert read_split(tmp_path / "r.jsonl", TASK.labels) == split


RECORD = {"instruction": "i", "input": "ACG", "output": "promoter"}


@pytest.mark.parametrize(
    ("lines", "what", "where"),
    [
        ([], "the file has no record", ""),
        ([json.dumps(RECORD), "{"], "not valid JSON", ", line 2"),
        ([json.dumps(RECORD), json.dumps({**RECORD, "id": 3})], "fields id, input, instruction, output", ", line 2"),
        ([json.dumps({**RECORD, "output": "dnon-promoter"})], "no label of the task", ", line 1"),
        ([json.dumps(RECORD), json.dumps({**RECORD, "instruction": "j"})], "the instruction differs", ", line 2"),
    ],
)
def test_bad_records_are_named(tmp_path, lines, what, where):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    with pytest.raises(DataError) as caught:
        read_split(path, TASK.labels)
    assert what in caught.value.what
    assert caught.value.where == f"{path}{where}"
    assert caught.value.fix


def test_missing_records_are_named(tmp_path):
    with pytest.raises(DataError, match="file not found"):
        read_split(tmp_path / "train.jsonl", TASK.labels)


def test_parts_of_a_split():
    split = split_of([("A", 0), ("C", 1), ("G", 0)])
    assert rows_of(split.subset([2, 0])) == [("G", 0), ("A", 0)]
    assert (rows_of(split.first(2)), len(split.first(9)), len(split.first(0))) == ([("A", 0), ("C", 1)], 3, 0)


def test_published_sizes(shared):
    for name in ("prom_core_all", "prom_core_tata", "human_tf_0"):
        task = GUE[name]
        splits = [read_csv(shared / "GUE/GUE" / name / f"{split}.csv", task) for split in ("train", "dev", "test")]
        assert tuple(map(len, splits)) == task.sizes
        assert {len(sequence) for sequence in splits[2].sequences} == {task.length}


def test_gue_has_28_tasks():
    assert len(GUE) == 28
    assert {task.metric for task in GUE.values()} == {"mcc", "f1_macro"}
    assert len(GUE["virus_covid"].labels) == 9 and len(GUE["splice_reconstructed"].labels) == 3
