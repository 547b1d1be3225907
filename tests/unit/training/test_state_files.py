"""Trees of tensors, numbers and texts go through files unchanged, and files hold nothing that could be run."""

import math
import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnatune.errors import DataError, RunError
from dnatune.training.state_files import read_tree, write_tree

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


@pytest.mark.parametrize("name", ["tree.json", "tree.safetensors"])
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
