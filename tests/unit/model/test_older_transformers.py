"""A merged folder says in transformers 4.57 what it says here: the same token ids and logits.

The test builds an environment of its own, which takes minutes and a package index. DNATUNE_OLDER_TRANSFORMERS names a
folder in which the environment is kept for the next time.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from dnatune.data.prompts import render
from dnatune.model import base_models, merging
from dnatune.report.model_card import TRIED_WITH
from samples import LORA, ROOT, TASK

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 4096, "initializer_range": 0.2}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "rope_theta": 1000000.0, "factor": 4.0, "original_max_position_embeddings": 64}
#: Of what a base consists: its configuration, its model and its tokenizer.
BASES = {
    "Llama with Llama 3's frequencies": (LlamaConfig(**SIZES, rope_parameters=LLAMA3), LlamaForCausalLM, "bpe"),
    "Llama with a vocabulary of sentencepiece": (LlamaConfig(**SIZES), LlamaForCausalLM, "sentencepiece"),
    "Qwen 2, tied": (Qwen2Config(**SIZES, tie_word_embeddings=True), Qwen2ForCausalLM, "qwen"),
    "Qwen 3 with YaRN": (Qwen3Config(**SIZES, head_dim=8, rope_parameters=YARN), Qwen3ForCausalLM, "qwen"),
}
TEXTS = [render(TASK.instruction, "ACGTTTAGCATTANNAC") + label for label in TASK.labels]
TEXTS += ["ACGT" * 40, "acgt\n\n  Greek α, {x} and <s></s>", ""]
#: Prints ids and logits of texts, as JSON; for the other environment too, so it imports nothing of dnatune.
READ = """
import json, sys, torch, transformers
folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
ids = [tokenizer(text).input_ids for text in texts]
with torch.no_grad():
    logits = [model(torch.tensor([one])).logits[0].tolist() if one else [] for one in ids]
said = [tokenizer.decode(one) for one in ids]
print(json.dumps({"version": transformers.__version__, "ids": ids, "logits": logits, "said": said}))
"""


@pytest.fixture(scope="module")
def older_python(tmp_path_factory) -> Path:
    """The interpreter of an environment with transformers 4.57 and the pinned torch."""
    kept = os.environ.get("DNATUNE_OLDER_TRANSFORMERS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("older") / "environment"
    python, ready = folder / "bin/python", folder / ".ready"
    if not ready.exists():
        pinned = re.findall(r"^(?:torch|numpy|safetensors)==.*$", (ROOT / "envs/requirements.lock").read_text(), re.M)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = [*pinned, f"transformers=={TRIED_WITH}.*", "sentencepiece", "protobuf"]
        done = subprocess.run([python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True)
        if "Could not find a version" in done.stderr or "No matching distribution" in done.stderr:
            pytest.skip(f"no package index here: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr[-2000:]
        ready.touch()
    return python


def tokenizer_of(kind, shared):
    if kind == "sentencepiece":
        return AutoTokenizer.from_pretrained(shared / "tokenizers/dnahl-llama")
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    special, alphabet = ["<|endoftext|>", "<s>"], sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(TEXTS * 20, trainer)
    if kind == "bpe":
        return PreTrainedTokenizerFast(
            tokenizer_object=trained, **dict(zip(("eos_token", "bos_token"), special, strict=True))
        )
    model = json.loads(trained.to_str())["model"]
    return Qwen2Tokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])


def merged_folder(name, folder, shared):
    """Make a base, an adapter of which every weight has moved, and merge them."""
    config, kind, vocabulary = BASES[name]
    tokenizer = tokenizer_of(vocabulary, shared)
    torch.manual_seed(0)
    changes = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    base = kind(type(config)(**{**config.to_dict(), **changes}))
    for part in ("base", "adapter", "merged"):
        (folder / part).mkdir()
    base.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    if vocabulary == "sentencepiece":
        shutil.copy(shared / "tokenizers/dnahl-llama/tokenizer.model", folder / "base")
    loaded = base_models.load_tokenizer(folder / "base")
    model = base_models.add_lora(base_models.load_model(folder / "base", loaded, torch.float32), LORA, 0)
    weights = {n: p.detach() + 0.05 * torch.randn(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    base_models.save_adapter(model, weights, loaded, folder / "adapter")
    merging.merge(folder / "base", folder / "adapter", folder / "merged", None, TEXTS[:2])
    return folder / "merged"


def read(python, folder):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, "-c", READ, folder, json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, env={**clean, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_transformers_4_reads_the_merged_folder_alike(name, tmp_path, older_python, shared):
    folder = merged_folder(name, tmp_path, shared)
    older, here = read(older_python, folder), read(sys.executable, folder)
    assert older["version"].startswith(f"{TRIED_WITH}.") and not here["version"].startswith("4.")
    assert older["ids"] == here["ids"] and older["said"] == here["said"]
    assert len(older["ids"][0]) > 20
    for one, other in zip(older["logits"], here["logits"], strict=True):
        # Two versions of transformers order the same fp32 operations otherwise; the logits are of the order of 1 to 10.
        assert torch.allclose(torch.tensor(one), torch.tensor(other), atol=1e-4, rtol=1e-4)
