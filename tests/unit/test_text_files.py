"""Text and tables are read whatever program wrote them, and a spoilt file ends in one message."""

import gzip

import pytest

from dnatune.errors import DataError
from dnatune.text_files import lines, table


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_of_any_ends_plain_and_packed(tmp_path, end, packed):
    content = "\ufeff" + end.join(["one", "", "two"])
    # The name says nothing: what is inside decides.
    path = tmp_path / "file.txt"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert list(lines(path)) == ["one", "", "two"]


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_table_with_any_separator(tmp_path, separator):
    path = tmp_path / "table"
    rows = [["seq", " class "], ["ACGT", '"a b"'], [], ["GG", "c"]]
    path.write_text("\n".join(separator.join(row) for row in rows) + "\n\n", "utf-8")
    header, found = table(path, ["seq"])
    assert header == ["seq", "class"]
    assert list(found) == [(2, ["ACGT", "a b"]), (4, ["GG", "c"])]


@pytest.mark.parametrize(
    ("content", "phrases"),
    [
        (b"", ["the file is empty"]),
        (b"\na,b\n", ["the first line is empty"]),
        (b"seq,class,class\nA,b,c\n", ["several columns are called 'class'"]),
        (b"seq,kind\nA,b\n", ["no column is called 'class'", "'seq', 'kind'"]),
        (b"class,seq\na,A\nb\n", ["1 fields in place of 2", "line 3"]),
        (b'class,seq\na,"A\nb,C\n', ["not a table", "line 2"]),
        (b"class,seq\na,A\xff\n", ["not UTF-8 text", "0xff"]),
        (b"class,seq\na,A\x00\n", ["not UTF-8 text", "0x00"]),
        (gzip.compress(b"class,seq\n" + b"a,ACGT\n" * 9000)[:-30], ["cut short or damaged"]),
        (b"version https://git-lfs.github.com/spec/v1\n", ["git-lfs pointer"]),
    ],
)
def test_a_spoilt_table_is_one_message(tmp_path, content, phrases):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(table(path, ["class"])[1])
    for phrase in [*phrases, str(path), "to do: "]:
        assert phrase in str(caught.value)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    for path, phrase in ((tmp_path, "this is a folder"), (tmp_path / "none.csv", "file not found")):
        with pytest.raises(DataError, match=phrase):
            list(lines(path))
