"""Merged models give the same results as base + adapter; unsuitable folders are refused."""

import shutil
import subprocess
import sys

import pytest
import torch

from dnatune.data.prompts import encode_examples
from dnatune.errors import ModelError
from dnatune.model import base_models, scoring, sources
from samples import LORA, TASK, make_tiny_model, split_of

ITEMS = 100


def adapter_of(base, folder, seed=0):
    """Write an adapter of which every weight, including B and the saved modules, differs from its initial value."""
    tokenizer = base_models.load_tokenizer(base)
    model = base_models.add_lora(base_models.load_model(base, tokenizer, torch.float32), LORA, seed)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: p.detach() + 0.05 * torch.randn(p.shape, generator=generator)
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    folder.mkdir()
    base_models.save_adapter(model, weights, tokenizer, folder)
    return folder


@pytest.fixture(scope="module", params=["plain", "grouped_query", "tied"])
def merged(request, tmp_path_factory, simulated_rows):
    changes = {"plain": {}, "grouped_query": {"key_value_heads": 2}, "tied": {"tied_embeddings": True}}
    folder = tmp_path_factory.mktemp("merge")
    base = make_tiny_model(folder / "base", simulated_rows, **changes[request.param])
    adapter = adapter_of(base, folder / "adapter")
    (folder / "merged").mkdir()
    base_models.merge(base, adapter, folder / "merged")
    return folder


def scores(model, tokenizer, rows):
    examples = encode_examples(tokenizer, split_of(rows), TASK.labels, 512, "rows")
    likelihood = base_models.LabelLikelihood(model.eval())
    return scoring.label_log_probabilities(likelihood, examples, range(len(rows)), 25, 5, "cpu")


def test_merged_and_adapted_models_agree(merged, simulated_rows):
    rows = simulated_rows[:ITEMS]
    adapted, tokenizer = base_models.load_adapter(merged / "base", merged / "adapter", torch.float32)
    plain_tokenizer = base_models.load_tokenizer(merged / "merged")
    plain = base_models.load_model(merged / "merged", plain_tokenizer, torch.float32)
    base = base_models.load_model(merged / "base", tokenizer, torch.float32)
    with_adapter = scores(adapted, tokenizer, rows)
    assert abs(with_adapter - scores(plain, plain_tokenizer, rows)).max() < 1e-5
    assert abs(with_adapter - scores(base, tokenizer, rows)).max() > 0.1


def test_merged_model_loads_where_peft_cannot_be_imported(merged):
    code = """
import sys
sys.modules["peft"] = None
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
logits = model(**tokenizer("ACGTACGT", return_tensors="pt", return_token_type_ids=False)).logits
assert torch.isfinite(logits).all() and logits.shape[-1] == len(tokenizer)
try:
    import peft
except ImportError:
    print("loaded without peft")
"""
    done = subprocess.run([sys.executable, "-c", code, merged / "merged"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "loaded without peft", done.stderr
    assert not list((merged / "merged").glob("*.bin"))


def test_adapter_names_no_path_of_this_machine(merged):
    files = sorted((merged / "adapter").glob("*.json"))
    assert (merged / "adapter/adapter_config.json") in files
    for file in files:
        assert str(merged) not in file.read_text(), file.name


def test_tokens_beyond_the_embeddings_get_rows_and_survive_merging(tmp_path, simulated_rows):
    base = make_tiny_model(tmp_path / "base", simulated_rows)
    tokenizer = base_models.load_tokenizer(base)
    before = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(base)
    adapter_of(base, tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    base_models.merge(base, tmp_path / "adapter", tmp_path / "merged")
    tokenizer = base_models.load_tokenizer(tmp_path / "merged")
    model = base_models.load_model(tmp_path / "merged", tokenizer, torch.float32)
    assert tokenizer.pad_token == "[PAD]" and len(tokenizer) == before + 1
    assert model.get_input_embeddings().num_embeddings == before + 1


def test_the_tiny_model_follows_from_its_seed(tmp_path, simulated_rows):
    folders = [
        make_tiny_model(tmp_path / name, simulated_rows, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    tokenizers = [(folder / "tokenizer.json").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]
    assert tokenizers[0] == tokenizers[1] == tokenizers[2]


@pytest.mark.parametrize(
    ("remove", "what"),
    [
        (["tokenizer.json", "tokenizer_config.json"], "has no tokenizer"),
        (["model.safetensors"], "no safetensors weights"),
        (["config.json"], "no config.json"),
    ],
)
def test_an_unfit_folder_is_refused(tmp_path, tiny_model, remove, what):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    for name in remove:
        (folder / name).unlink()
    with pytest.raises(ModelError, match=what) as caught:
        sources.check_folder(folder)
    assert str(folder) in caught.value.where and caught.value.fix


def test_pickled_weights_are_never_loaded(tmp_path, tiny_model):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="safetensors") as caught:
        sources.check_folder(folder)
    assert "*.bin" in caught.value.fix and "save_pretrained" in caught.value.fix


def test_a_git_lfs_pointer_for_weights_is_refused(tmp_path, tiny_model):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ModelError, match="git-lfs pointer"):
        sources.check_folder(folder)


def test_an_unknown_module_is_named(tiny_model):
    tokenizer = base_models.load_tokenizer(tiny_model)
    model = base_models.load_model(tiny_model, tokenizer, torch.float32)
    with pytest.raises(ModelError, match="qkv_proj") as caught:
        base_models.add_lora(model, LORA.model_copy(update={"target_modules": ("qkv_proj",)}), 0)
    assert "q_proj" in caught.value.fix and "lora.target_modules" in caught.value.where


def test_only_adapter_and_saved_modules_are_trained(tiny_model):
    tokenizer = base_models.load_tokenizer(tiny_model)
    model = base_models.add_lora(base_models.load_model(tiny_model, tokenizer, torch.float32), LORA, 0)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    assert sum("lora_A" in name for name in trained) == 7 * 2
    assert sum("modules_to_save" in name for name in trained) == 2


def test_log_probabilities_and_their_gradient_are_exact_over_a_large_vocabulary():
    torch.manual_seed(0)
    logits = (5 * torch.randn(7, 61_957)).requires_grad_()
    targets, weights = torch.randint(61_957, (7,)), torch.randn(7)
    found = base_models.log_probabilities(logits, targets)
    (found * weights).sum().backward()
    exact = logits.detach().double().requires_grad_()
    truth = exact.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
    (truth * weights.double()).sum().backward()
    assert (found.double() - truth).abs().max() < 5e-6
    assert (logits.grad.double() - exact.grad).norm() < 1e-6 * exact.grad.norm()
