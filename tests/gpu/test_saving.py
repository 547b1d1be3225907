"""On a GPU, a state is copied to page-locked memory at one moment, whatever the GPU does to it afterwards."""

import pytest
import torch

from dnatune.training.state_files import HostMemory, copy_tree, read_tree, write_files

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_copy_is_of_its_moment_and_its_memory_is_used_again(tmp_path):
    memory, addresses = HostMemory(), set()
    state = {"weights": torch.zeros(2**26, device="cuda"), "other": torch.zeros(3, 5, device="cuda").T}
    for value in (1.0, 2.0):
        for tensor in state.values():
            tensor.fill_(value)
        files = copy_tree("state", state, memory)
        for tensor in state.values():
            tensor.fill_(-1.0)
        copies = list(files["state-00000.safetensors"].values())
        assert all(copy.is_pinned() for copy in copies)
        addresses |= {copy.data_ptr() for copy in copies}
        write_files(tmp_path, files)
        read = read_tree(tmp_path, "state")
        assert all(torch.equal(read[name], torch.full(tensor.shape, value)) for name, tensor in state.items())
    assert len(addresses) == 2
