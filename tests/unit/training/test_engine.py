"""What is decided about the engine before a run starts."""

import os
import stat

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dnatune.errors import ConfigurationError
from dnatune.model import base_models, label_likelihood
from dnatune.settings.training import Training
from dnatune.training import engine
from samples import LORA

GPU = "cuda:0"


@pytest.mark.parametrize(
    ("wanted", "length", "device", "capability", "zero_stage", "expected"),
    [
        ("auto", engine.FEWEST_COMPILED, GPU, 9, 2, True),
        ("auto", engine.FEWEST_COMPILED, GPU, 7, 2, False),
        ("auto", engine.FEWEST_COMPILED - 1, GPU, 9, 2, False),
        ("auto", engine.FEWEST_COMPILED, GPU, 9, 3, False),
        ("auto", engine.FEWEST_COMPILED, "cpu", 9, 2, False),
        (True, 1, GPU, 7, 0, True),
        (False, 10**6, GPU, 9, 2, False),
    ],
)
def test_layers_are_compiled_where_it_is_possible_and_pays(
    monkeypatch, wanted, length, device, capability, zero_stage, expected
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (capability, 0))
    assert engine.compiles(Training(compile=wanted, zero_stage=zero_stage), length, device) is expected


@pytest.mark.parametrize(("device", "zero_stage"), [("cpu", 2), (GPU, 3)])
def test_compiled_layers_are_refused_where_they_are_not_possible(device, zero_stage):
    with pytest.raises(ConfigurationError, match=r"training\.compile"):
        engine.compiles(Training(compile=True, zero_stage=zero_stage), 1000, device)


@pytest.fixture
def likelihood():
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return label_likelihood.LabelLikelihood(
        base_models.add_lora(LlamaForCausalLM(LlamaConfig(vocab_size=40, **shape)), LORA, seed=0)
    )


@pytest.mark.parametrize(("zero_stage", "flat"), [(0, False), (1, True), (2, True), (3, False)])
def test_matrices_are_one_parameter_where_an_optimizer_gets_flat_vectors_anyway(likelihood, zero_stage, flat):
    engine.prepare_layers(likelihood, zero_stage, compiled=False)
    assert (likelihood.adapter is not None) is flat
    trained = [name for name, p in likelihood.named_parameters() if p.requires_grad and "lora_" in name]
    assert bool(trained) is not flat


def test_weights_are_named_as_the_model_names_them(likelihood):
    named = {name: p.detach().clone() for name, p in likelihood.model.named_parameters() if p.requires_grad}
    engine.prepare_layers(likelihood, 2, compiled=False)
    weights = engine.full_precision_weights(likelihood)
    assert weights.keys() == named.keys()
    assert all(torch.equal(weights[name], named[name]) for name in named)


def test_compiled_code_is_kept_where_only_its_user_can_write(likelihood, tmp_path, monkeypatch):
    # Without torch's compiler the folder is all that is left of it.
    monkeypatch.setattr(label_likelihood.LabelLikelihood, "compile_layers", lambda self: None)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine.prepare_layers(likelihood, 2, compiled=True)
    folder = tmp_path / "dnatune/compiled"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    engine.prepare_layers(likelihood, 0, compiled=True)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"


def test_where_compiled_code_cannot_be_kept_the_message_says_what_to_do(likelihood, tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=r"training\.compile"):
        engine.prepare_layers(likelihood, 2, compiled=True)


def test_a_gradient_in_bf16_is_asked_for_its_norm_alone():
    configuration = engine.deepspeed_configuration(Training(), "bf16", 1, 1.0)
    assert configuration["bf16"] == {"enabled": True, "check_grad_overflow": False}
