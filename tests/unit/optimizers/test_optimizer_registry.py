"""The registry of optimizers: names and defaults; wrong settings are refused."""

import math
import sys

import pytest
import torch
from torch import nn

from dnatune import optimizers
from dnatune.errors import ConfigurationError
from optimizer_flow import build, parameter


@pytest.mark.parametrize(
    "method, settings, words",
    [
        ("rk5", {}, ["unknown optimizer 'rk5'", "did you mean 'rk"]),
        ("adamv", {}, ["unknown optimizer 'adamv'", "did you mean 'Adam'"]),
        ("RMSprob", {}, ["unknown optimizer 'RMSprob'", "did you mean 'RMSprop'"]),
        ("torch.optim.Adamm", {}, ["unknown optimizer", "did you mean 'Adam'"]),
        ("mine:", {}, ["'mine:' is not a class", "package.module:Class"]),
        ("LBFGS", {"learning_rate": 1.0}, ["LBFGS cannot be used", "closure"]),
        ("rk4", {}, ["'learning_rate' is missing", "give a number > 0"]),
        ("rk4", {"learning_rate": None}, ["'learning_rate' is missing"]),
        ("rk4", {"learning_rate": -1e-3}, ["'learning_rate' is -0.001, not a number > 0"]),
        ("rk4", {"learning_rate": 0}, ["'learning_rate' is 0, not"]),
        ("rk4", {"learning_rate": math.nan}, ["'learning_rate' is nan"]),
        ("rk4", {"learning_rate": True}, ["'learning_rate' is True, not a number"]),
        ("rk4", {"learning_rate": "1e-4"}, ["'learning_rate' is the text '1e-4'", "write 1.0e-4"]),
        ("rk4", {"lr": 1e-3}, ["no hyperparameter 'lr'", "did you mean 'learning_rate'"]),
        ("rk4", {"learning_rate": 1, "weight_decy": 0}, ["'weight_decy'", "did you mean 'weight_decay'"]),
        ("rk4", {"learning_rate": 1, "momentum": 0.9}, ["no hyperparameter 'momentum'", "it has learning_rate"]),
        ("rk4", {"learning_rate": 1, "max_norm": 1}, ["'max_norm'", "'max_grad_norm', a key of 'training'"]),
        ("rkc", {"learning_rate": 1, "stages": 17}, ["'stages' is 17, not a whole number ≥ 2 and ≤ 16"]),
        ("rkc", {"learning_rate": 1, "stages": 4.5}, ["'stages' is 4.5, not a whole number"]),
        ("rkc", {"learning_rate": 1, "stages": 6.0}, ["'stages' is 6.0, not a whole number"]),
        ("rkc", {"learning_rate": 1, "order": 3}, ["'order' is 3, not one of 1, 2"]),
        ("rkc", {"learning_rate": 1, "damping": -1}, ["'damping' is -1"]),
        ("adamw", {"learning_rate": 1, "betas": [0.9, 1.0]}, ["'betas' is 1.0", "two numbers ≥ 0 and < 1"]),
        ("adamw", {"learning_rate": 1, "betas": 0.9}, ["'betas' is 0.9, not two numbers"]),
        ("adamw", {"learning_rate": 1, "eps": 1e-6}, ["'eps'", "did you mean 'epsilon'"]),
        ("adamw", {"learning_rate": 1, "epsilon": 0}, ["'epsilon' is 0, not a number > 0"]),
        ("sgd", {"learning_rate": 1, "nesterov": 1}, ["'nesterov' is 1, not true or false"]),
        ("sgd", {"learning_rate": 1, "nesterov": True}, ["'nesterov' needs momentum"]),
        ("rmsprop", {"learning_rate": 1, "alhpa": 0.9}, ["'alhpa'", "did you mean 'alpha'"]),
        ("RMSprop", {"learning_rate": 1, "maximize": True}, ["no hyperparameter 'maximize'"]),
        ("torch.optim.RMSprop", {"alpha": 0.9}, ["'learning_rate' is missing"]),
    ],
)
def test_bad_settings_are_refused_by_name(method, settings, words):
    with pytest.raises(ConfigurationError) as caught:
        optimizers.validate(method, settings, "optimizers.mine")
    message = str(caught.value)
    assert "config key 'optimizers.mine." in message
    for word in words:
        assert word in message


def test_defaults_are_filled_in_and_types_settled():
    assert optimizers.validate("adamw", {"learning_rate": 1, "betas": [0.8, 0.9]}) == {
        "learning_rate": 1.0,
        "weight_decay": 0.0,
        "betas": (0.8, 0.9),
        "epsilon": 1e-8,
    }
    rkc = optimizers.validate("rkc", {"learning_rate": 1e-3, "stages": 6})
    assert rkc["stages"] == 6 and isinstance(rkc["stages"], int)
    assert optimizers.stages("rkc", rkc) == 6
    assert optimizers.validate("rkc", rkc) == rkc


def test_defaults_agree_with_torchs():
    for method, oracle in (("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        ours = build(method, [parameter()]).param_groups[0]
        theirs = oracle([parameter()], lr=0.1, weight_decay=0.0, fused=True).param_groups[0]
        assert {k: v for k, v in ours.items() if k != "params"} == {k: v for k, v in theirs.items() if k != "params"}


@pytest.mark.parametrize("name", ["RMSprop", "rmsprop", "torch.optim.RMSprop", "torch.optim.rmsprop"])
def test_classes_of_torch_by_name(name):
    optimizer = build(name, [parameter()], alpha=0.5, eps=1e-3)
    assert type(optimizer) is torch.optim.RMSprop
    assert (optimizer.defaults["lr"], optimizer.defaults["alpha"], optimizer.defaults["eps"]) == (0.1, 0.5, 1e-3)
    with pytest.raises(ConfigurationError, match="Invalid alpha"):
        build(name, [parameter()], alpha=-1.0)


def test_every_class_of_torch_can_be_built_or_is_refused_with_a_reason():
    names = [n for n, c in vars(torch.optim).items() if isinstance(c, type) and n != "Optimizer"]
    assert len(names) >= 14
    for name in names:
        if name in ("LBFGS", "SparseAdam"):
            with pytest.raises(ConfigurationError, match="cannot be used: it "):
                optimizers.specification(f"torch.optim.{name}")
        else:
            optimizer = build(f"torch.optim.{name}", [nn.Parameter(torch.ones(2, 2))])
            assert type(optimizer).__name__ == name
            assert optimizers.specification(f"torch.optim.{name}").elementwise == (name not in ("Adafactor", "Muon"))


def test_a_class_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "my_optimizers.py").write_text(
        "import torch\n"
        "class Plain(torch.optim.SGD):\n"
        "    def __init__(self, params, lr, strength=1.0):\n"
        "        super().__init__(params, lr * strength)\n"
        "class Staged(Plain):\n"
        "    stages = 2\n"
        "class Other: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    optimizer = build("my_optimizers:Plain", [parameter()], strength=3.0)
    assert type(optimizer).__name__ == "Plain" and optimizer.defaults["lr"] == pytest.approx(0.3)
    for name, settings, message in (
        ("my_optimizers:Plain", {"strenght": 1.0}, "did you mean 'strength'"),
        ("my_optimizers:Staged", {}, "Staged takes 2 gradients"),
        ("my_optimizers:Other", {}, "is not a torch.optim.Optimizer"),
        ("my_optimizers:Missing", {}, "cannot be imported"),
        ("no_such_package.at_all:Class", {}, "cannot be imported"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            build(name, [parameter()], **settings)
        assert message in str(caught.value)
    sys.modules.pop("my_optimizers")
