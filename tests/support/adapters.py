"""Adapters that no training has made."""

from pathlib import Path

import torch

from dnatune.model import base_models
from dnatune.settings.training import Lora
from samples import LORA


def adapter_of(base: Path, folder: Path, lora: Lora = LORA, size: float = 0.05) -> Path:
    """Write an adapter of which every weight, including B and the saved modules, differs from its initial value."""
    tokenizer = base_models.load_tokenizer(base)
    model = base_models.add_lora(base_models.load_model(base, tokenizer, torch.float32), lora, 0)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: p.detach() + size * torch.randn(p.shape, generator=generator)
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    folder.mkdir()
    base_models.save_adapter(model, weights, tokenizer, folder)
    return folder
