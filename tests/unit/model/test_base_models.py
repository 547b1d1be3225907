"""Merged models give the same results as base + adapter; unsuitable folders are refused."""

import shutil

import pytest
import torch

from dnatune.errors import ModelError
from dnatune.model import base_models, label_likelihood, sources
from samples import LORA, make_tiny_model


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


def test_weights_go_from_the_file_to_the_device(tiny_model):
    """A GPU is not at hand here; the device `meta` also shows that nothing is loaded on the CPU first."""
    model = base_models.load_model(tiny_model, base_models.load_tokenizer(tiny_model), torch.float32, "meta")
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


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
    found = label_likelihood.log_probabilities(logits, targets)
    (found * weights).sum().backward()
    exact = logits.detach().double().requires_grad_()
    truth = exact.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
    (truth * weights.double()).sum().backward()
    assert (found.double() - truth).abs().max() < 5e-6
    assert (logits.grad.double() - exact.grad).norm() < 1e-6 * exact.grad.norm()
