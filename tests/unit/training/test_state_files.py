"""Trees of tensors, numbers and texts go through files unchanged, and files hold nothing that could be run."""

import math
import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnatune.errors import DataError, RunError
from dnatune.files import folder_hashes
from dnatune.training import state_files
from dnatune.training.state_files import HostMemory, copy_tree, read_tree, write_files

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool)
NUMBERS = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.text(max_size=5)
TENSORS = st.builds(
    lambda shape, dtype, seed: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(DTYPES),
    st.integers(0, 9),
)
TREES = st.recursive(
    NUMBERS | TENSORS,
    lambda below: (
        st.lists(below, max_size=3)
        | st.tuples(below, below)
        | st.dictionaries(st.text(max_size=5) | st.integers(), below, max_size=3)
    ),
    max_leaves=8,
)


def write_tree(folder, name, tree):
    return write_files(folder, copy_tree(name, tree, HostMemory()))


def same(left, right):
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@settings(deadline=None, max_examples=200)
@given(tree=TREES)
def test_what_is_read_is_what_was_written(tmp_path_factory, tree):
    folder = tmp_path_factory.getbasetemp()
    write_tree(folder, "tree", tree)
    assert same(read_tree(folder, "tree"), tree)


def test_views_of_one_tensor_and_other_strides_are_written_as_they_are(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tree = {"whole": whole, "again": whole, "row": whole[1], "turned": whole.T, "parameter": torch.nn.Parameter(whole)}
    write_tree(tmp_path, "tree", tree)
    read = read_tree(tmp_path, "tree")
    for name, tensor in tree.items():
        assert torch.equal(read[name], tensor)
    # Neither the file nor another tensor lies behind what was read.
    read["whole"].zero_()
    assert torch.equal(read["again"], whole) and torch.equal(read_tree(tmp_path, "tree")["whole"], whole)


def test_a_large_tensor_is_cut_and_files_are_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(state_files, "_FILE_BYTES", 100)
    tree = {"large": torch.arange(120.0).reshape(3, 40), "small": torch.arange(9), "none": torch.zeros(2, 0)}
    hashes = write_tree(tmp_path, "tree", tree)
    assert same(read_tree(tmp_path, "tree"), tree)
    assert hashes == folder_hashes(tmp_path) and len(hashes) == 7
    assert max(path.stat().st_size for path in tmp_path.glob("*.safetensors")) < 100 + 200


def test_what_is_written_is_the_state_of_the_moment_of_the_copy(tmp_path):
    tensor, memory = torch.zeros(5), HostMemory()
    files = copy_tree("tree", [tensor, tensor[1:3]], memory)
    tensor += 1
    write_files(tmp_path, files)
    assert same(read_tree(tmp_path, "tree"), [torch.zeros(5), torch.zeros(2)])
    # The next copy takes the same memory.
    again = copy_tree("tree", [tensor, tensor[1:3]], memory)
    assert again["tree-00000.safetensors"]["0"] is files["tree-00000.safetensors"]["0"]
    write_files(tmp_path, again)
    assert same(read_tree(tmp_path, "tree"), [torch.ones(5), torch.ones(2)])


def test_a_number_that_is_none_stays_so(tmp_path):
    write_tree(tmp_path, "tree", [math.nan, math.inf, -math.inf])
    nan, *infinite = read_tree(tmp_path, "tree")
    assert math.isnan(nan) and infinite == [math.inf, -math.inf]


@pytest.mark.parametrize("part", [object(), {1.5: 0}, {(1, 2): 0}, {1, 2}, b"bytes", torch.float32])
def test_what_cannot_be_written_is_named(tmp_path, part):
    with pytest.raises(RunError, match=rf"a checkpoint cannot hold the {type(part).__name__} at rank.state.0"):
        write_tree(tmp_path, "rank", {"state": [part]})


class Poison:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["tree.json", "tree-00000.safetensors"])
def test_a_pickle_in_place_of_a_file_is_an_error_and_does_not_run(tmp_path, name):
    write_tree(tmp_path, "tree", {"a": torch.zeros(3)})
    (tmp_path / name).write_bytes(pickle.dumps(Poison(tmp_path / "poisoned")))
    with pytest.raises(DataError) as caught:
        read_tree(tmp_path, "tree")
    assert "tree" in caught.value.where
    assert not (tmp_path / "poisoned").exists()


@pytest.mark.parametrize("content", ["{", '{"eval": 1}', '{"map": 5}', '{"map": [[1]]}', '{"tensor": "9"}', "{}"])
def test_nonsense_is_an_error(tmp_path, content):
    write_tree(tmp_path, "tree", {})
    (tmp_path / "tree.json").write_text(content)
    with pytest.raises(DataError):
        read_tree(tmp_path, "tree")
