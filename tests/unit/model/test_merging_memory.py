"""Merging holds one tensor at a time: its peak memory stays below 1.3 times the model's size on disk."""

import subprocess
import sys

import pytest
import torch
from transformers import LlamaConfig

from dnatune.model import base_models
from dnatune.model.architecture import network_of
from dnatune.model.weight_files import WEIGHTS, weight_file
from samples import LORA, make_tiny_model

#: A billion weights in bf16: 2.0 GB.
SHAPE = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 20,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 512,
}
MERGES = """
import resource, sys
from pathlib import Path
from dnatune.model.merging import merge
storage = merge(*map(Path, sys.argv[1:4]), None, ["ACGTTTAGCATTA promoter", "CCGTA Non-promoter"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, storage.largest_difference)
"""


@pytest.mark.slow
def test_a_model_of_two_gigabytes(tmp_path, simulated_rows):
    base, adapter = make_tiny_model(tmp_path / "base", simulated_rows), tmp_path / "adapter"
    tokenizer = base_models.load_tokenizer(base)
    LlamaConfig(**SHAPE, vocab_size=32000, dtype="bfloat16", bos_token_id=0, eos_token_id=1).save_pretrained(base)
    shapes = {name: one.shape for name, one in network_of(base).named_parameters()}
    layout = {name: (torch.bfloat16, shape) for name, shape in shapes.items()}
    with weight_file(base / WEIGHTS, layout) as append:
        for name, shape in shapes.items():
            append(name, torch.empty(shape, dtype=torch.bfloat16).normal_(std=0.02))
    size = (base / WEIGHTS).stat().st_size
    assert size > 1.9e9
    with torch.device("meta"):
        model = base_models.add_lora(network_of(base), LORA, 0)
    weights = {name: 0.02 * torch.randn(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    for folder in (adapter, tmp_path / "merged"):
        folder.mkdir()
    base_models.save_adapter(model, weights, tokenizer, adapter)
    command = [sys.executable, "-c", MERGES, base, adapter, tmp_path / "merged"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    peak, difference = map(float, done.stdout.split())
    assert peak < 1.3 * size and difference < 1e-3, (size, peak, difference)
