"""On a GPU, Liger's kernels compute what transformers' do and are undone, and the speed comparison runs to its end."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from transformers.models.llama import modeling_llama

from dnatune.benchmark import recipes
from dnatune.data.prompts import encode_examples
from dnatune.model import base_models
from samples import LORA, TASK, split_of
from small_benchmark import configuration

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
COUNT = 24
liger = pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is None, reason="Liger is not installed, as usual")


@liger
def test_liger_changes_no_gradient_and_nothing_of_it_stays(tiny_model, simulated_rows):
    tokenizer = base_models.load_tokenizer(tiny_model)
    examples = encode_examples(tokenizer, split_of(simulated_rows[:COUNT]), TASK.labels, 512, "rows")
    model = base_models.add_lora(base_models.load_model(tiny_model, tokenizer, torch.float32), LORA, seed=0).to("cuda")
    before = dict(vars(modeling_llama)), [set(vars(module)) for module in model.modules()]
    for plain, fused in zip(recipes.practice_recipes(False)[1:], recipes.practice_recipes(True)[1:], strict=True):
        loss, gradient = recipes.gradient(model, plain, examples, range(COUNT))
        same, found = recipes.gradient(model, fused, examples, range(COUNT))
        # fp32 sums in another order.
        assert same == pytest.approx(loss, rel=1e-5)
        for name, part in gradient.items():
            assert float((found[name] - part).norm()) <= 1e-4 * float(part.norm()) + 1e-9, name
    assert (dict(vars(modeling_llama)), [set(vars(module)) for module in model.modules()]) == before


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_comparison_runs_to_its_end(tmp_path, tiny_model, prepared, precision):
    peers = ["trl"] if importlib.util.find_spec("trl") else []
    settings = {**configuration(peers=peers, vocabulary=700), "training": {"precision": precision}}
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    command = [sys.executable, "-m", "dnatune", "launch", "--ranks", "1", "--cpus", "2", "benchmark"]
    paths = {
        "experiment": tmp_path / "experiment.yaml",
        "tokenizer": tiny_model,
        "train": prepared / "train.jsonl",
        "test": prepared / "test.jsonl",
        "result": tmp_path / "benchmark.json",
        "figure": tmp_path / "speed.svg",
    }
    command += [str(word) for key, path in paths.items() for word in (f"--{key}", path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text("utf-8"))["training"]["recipes"]
    assert found["common practice"]["micro_batch_size"] == found["shared prefix"]["micro_batch_size"] == 48
    assert sum(name.startswith("trl") for name in found) == 3 * len(peers)
