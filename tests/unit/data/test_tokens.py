"""Kept tokens are those of a fresh tokenisation, for every rank, and whatever is wrong with them is made again."""

import concurrent.futures
import json
import shutil
import subprocess
import sys

import pytest

from dnatune.data import tokens
from dnatune.data.prompts import encode_examples
from dnatune.data.records import write_split
from dnatune.launch.process_group import Rank
from dnatune.model import base_models
from samples import TASK, split_of

ALONE = Rank(0, 1, "cpu")


@pytest.fixture
def tokenizer(tiny_model):
    return base_models.load_tokenizer(tiny_model)


@pytest.fixture
def encode(tmp_path, tokenizer, simulated_rows, monkeypatch):
    """A function that encodes rows as those of a file in `tmp_path`, keeping their tokens however few they are."""
    monkeypatch.setattr(tokens, "LEAST_ROWS", 1)

    def encoded(rows=simulated_rows[:50], tokenizer=tokenizer, length=512):
        return encode_examples(tokenizer, split_of(rows), TASK.labels, length, str(tmp_path / "train.jsonl"), ALONE)

    return encoded


def kept(tmp_path):
    return sorted((tmp_path / "tokens").glob("*"))


def contents(examples):
    return examples.prefix, list(examples.examples), examples.answers, examples.labels


def test_what_is_read_back_is_what_was_tokenised(tmp_path, encode, tokenizer, simulated_rows, monkeypatch):
    # More rows than Arrow writes in one piece.
    rows = simulated_rows * 4
    plain = encode_examples(tokenizer, split_of(rows), TASK.labels, 512, "rows")
    made = encode(rows)
    (folder,) = kept(tmp_path)

    def once_more(*_):
        pytest.fail("tokenised again")

    monkeypatch.setattr("dnatune.data.prompts.tokenize", once_more)
    read = encode(rows)
    assert isinstance(read.examples, tokens.MappedRows) and len(read) == len(rows)
    assert contents(read) == contents(made) == contents(plain)
    assert [read.prompt(i) for i in (0, 1001, -1)] == [plain.prompt(i) for i in (0, 1001, -1)]
    assert contents(read.subset([3, 2000, 3])) == contents(plain.subset([3, 2000, 3]))
    with pytest.raises(IndexError):
        read.examples[len(rows)]
    assert kept(tmp_path) == [folder]


def test_a_label_that_does_not_fit_is_named_in_kept_tokens_too(encode):
    rows = [("ACG", 0), ("ACGT" * 60, 1)]
    with pytest.raises(tokens.DataError) as made:
        encode(rows, length=70)
    with pytest.raises(tokens.DataError) as read:
        encode(rows, length=70)
    assert str(made.value) == str(read.value) and "train.jsonl, line 2" in str(read.value)


def test_each_change_of_content_is_kept_by_itself(tmp_path, encode, tokenizer, simulated_rows, monkeypatch):
    encode()
    encode([(sequence, 1 - label) for sequence, label in simulated_rows[:50]])
    assert len(kept(tmp_path)) == 1
    encode(simulated_rows[1:51])
    assert len(kept(tmp_path)) == 2
    tokenizer.add_tokens(["GGGG"])
    encode()
    assert len(kept(tmp_path)) == 3
    monkeypatch.setattr("dnatune.data.prompts.TEMPLATE", "{instruction} {input} ")
    encode()
    assert len(kept(tmp_path)) == 4


def test_a_model_made_of_another_shares_its_tokens(tmp_path, encode, tokenizer):
    encode()
    tokenizer.save_pretrained(tmp_path / "merged")
    encode(tokenizer=base_models.load_tokenizer(tmp_path / "merged"))
    assert len(kept(tmp_path)) == 1


def cut_short(folder):
    file = next(folder.rglob("*.arrow"))
    file.write_bytes(file.read_bytes()[:-100])


def other_bits(folder):
    file = next(folder.rglob("*.arrow"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "a file is cut short": cut_short,
    "a bit is turned": other_bits,
    "a file is missing": lambda folder: (folder / "examples/prefix.json").unlink(),
    "no digests": lambda folder: (folder / "digests.json").unlink(),
    "empty digests": lambda folder: (folder / "digests.json").write_text(""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tokens_are_made_again(tmp_path, encode, caplog, damage):
    made = contents(encode())
    (folder,) = kept(tmp_path)
    DAMAGES[damage](folder)
    assert contents(encode()) == made
    assert f"the tokens in {folder} cannot be used and are made again" in caplog.text
    caplog.clear()
    assert isinstance(encode().examples, tokens.MappedRows)
    assert not caplog.text


def test_several_may_write_at_once(tmp_path, encode):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = [contents(examples) for examples in pool.map(lambda _: encode(), range(8))]
    assert found == [contents(encode())] * 8
    assert isinstance(encode().examples, tokens.MappedRows)
    assert [path.name for path in kept(tmp_path)] == [path.name for path in kept(tmp_path) if len(path.name) == 16]


def test_where_nothing_can_be_written_tokens_stay_in_memory(tmp_path, encode, caplog):
    (tmp_path / "tokens").write_text("no folder can be made here")
    assert contents(encode()) == contents(encode())
    assert "tokens cannot be kept" in caplog.text


def test_tokens_may_be_deleted_while_they_are_in_use(tmp_path, encode):
    encode()
    read = encode()
    before = contents(read)
    shutil.rmtree(tmp_path / "tokens")
    assert contents(read) == before


def test_a_small_split_is_not_kept(tmp_path, tokenizer, simulated_rows):
    split = split_of(simulated_rows)
    encode_examples(tokenizer, split, TASK.labels, 512, str(tmp_path / "train.jsonl"), ALONE)
    assert not (tmp_path / "tokens").exists()


RANK = """
import json, sys
from pathlib import Path
from dnatune.data import prompts, tokens
from dnatune.data.records import read_split
from dnatune.launch.process_group import join_scorers
from dnatune.model import base_models
tokens.LEAST_ROWS = 1
model, records, out, *labels = sys.argv[1:]
rank = join_scorers()
made = []
tokenize = prompts.tokenize
prompts.tokenize = lambda *arguments: made.append(1) or tokenize(*arguments)
examples = prompts.encode_examples(
    base_models.load_tokenizer(Path(model)), read_split(Path(records), labels), labels, 512, records, rank
)
found = [len(made), examples.prefix, list(examples.examples)]
(Path(out) / f"{rank.index}.json").write_text(json.dumps(found))
"""


def test_one_of_several_ranks_tokenises(tmp_path, tiny_model, tokenizer, simulated_rows):
    split = split_of(simulated_rows[:40])
    write_split(tmp_path / "test.jsonl", split, TASK.labels)
    (tmp_path / "rank.py").write_text(RANK)
    start = "import sys; from dnatune.launch.launcher import start_ranks; start_ranks(sys.argv[1:], 2)"
    arguments = [tmp_path / "rank.py", tiny_model, tmp_path / "test.jsonl", tmp_path, *TASK.labels]
    subprocess.run([sys.executable, "-c", start, *map(str, arguments)], check=True, timeout=300)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    plain = encode_examples(tokenizer, split, TASK.labels, 512, "rows")
    assert [made for made, _, _ in found] == [1, 0]
    assert all([prefix, rows] == [plain.prefix, plain.examples] for _, prefix, rows in found)


def test_the_library_imports_neither_arrow_nor_datasets_before_it_needs_them():
    code = (
        "import sys, dnatune.data.prompts, dnatune.settings.experiment; print({'datasets', 'pyarrow'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
