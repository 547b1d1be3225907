"""What evaluate scores is what was trained: its scores of the dev split are those of the training engine at its end."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import forked_python
from dnatune.data.integrity import contents_of
from dnatune.data.prompts import encode_examples
from dnatune.data.records import read_split, write_split
from dnatune.evaluation.agreement import Merge
from dnatune.files import read_json, read_json_lines
from dnatune.model import base_models
from dnatune.model.weight_files import stored_tensors, weight_files
from dnatune.settings.experiment import resolve
from dnatune.training.record import Run, adapter_of
from samples import LORA, TASK, make_tiny_model, split_of

STEPS, BATCH = 4, 8
RUN = ("tiny", TASK.name, "adamw", 3)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, simulated_rows) -> Path:
    """A folder with train.jsonl and dev.jsonl and the models fp32 and bf16, one of them tied."""
    folder = tmp_path_factory.mktemp("scored")
    for split, rows in (("train", simulated_rows[:64]), ("dev", simulated_rows[64:96])):
        write_split(folder / f"{split}.jsonl", split_of(rows), TASK.labels)
    make_tiny_model(folder / "fp32", simulated_rows)
    make_tiny_model(folder / "bf16", simulated_rows, tied_embeddings=True)
    AutoModelForCausalLM.from_pretrained(folder / "bf16", dtype=torch.bfloat16).save_pretrained(folder / "bf16")
    return folder


def command(stage, *words):
    words = forked_python.stage(*map(str, (*stage, *words)))
    return subprocess.run(words, capture_output=True, text=True, check=False)


def experiment(folder, rate=3e-3, dtype=None, **training):
    """Write the configuration of one run, whose dev examples are scored in the batches of evaluation."""
    path = folder / "experiment.json"
    resolve(
        {
            "name": "scored",
            "models": {"tiny": {"source": "tiny", "tiny": {}}},
            "data": {"source": "simulated", "simulated": {}},
            "tasks": [TASK.name],
            "seeds": [3],
            "budget": {"steps": STEPS},
            "optimizers": {"adamw": {"learning_rate": rate}},
            "lora": LORA.plain(),
            "training": {
                "global_batch_size": 16,
                "micro_batch_size": BATCH,
                "gradient_checkpointing": False,
                **training,
            },
            "evaluation": {"batch_size": BATCH},
            "merge": {"dtype": dtype},
        }
    ).write(path)
    return path


def trained(inputs, folder, base, ranks=1, **changes):
    """Train one run in a folder, and return the options that name it."""
    options = ("--experiment", experiment(folder, **changes), "--model", inputs / base)
    outputs = ("--record", folder / "run.json", "--training-log", folder / "training.jsonl")
    splits = ("--train", inputs / "train.jsonl", "--dev", inputs / "dev.jsonl")
    launch = ("launch", "--ranks", ranks, "--cpus", ranks, "--state", folder / "checkpoints", "finetune")
    done = command(launch, *options, "--run", "/".join(map(str, RUN[:3])) + "/seed3", *splits, *outputs,
                   "--checkpoints", folder / "checkpoints")  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return (*options, "--record", folder / "run.json")


def merged(folder, options):
    """Merge, and return what stands in the log."""
    done = command(["merge"], *options, "--folder", folder / "merged")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def evaluated(inputs, folder, options, split="dev"):
    outputs = ("--predictions", folder / "predictions.tsv", "--metrics", folder / "metrics.json")
    outputs += ("--merged", folder / "merged", "--agreement", folder / "merge.json")
    return command(["evaluate"], *options, "--task", TASK.name, "--test", inputs / f"{split}.jsonl", *outputs)


def dev_loss(inputs, folder, base):
    """Return the loss a label token of predictions.tsv."""
    with (folder / "predictions.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    split = read_split(inputs / "dev.jsonl", TASK.labels)
    examples = encode_examples(base_models.load_tokenizer(inputs / base), split, TASK.labels, 512, "dev")
    tokens = sum(len(examples.answer(i)) for i in range(len(examples)))
    return -sum(float(row[f"logp_{row['label']}"]) for row in rows) / tokens


CASES = [
    *(("fp32", "fp32", zero, 1) for zero in (0, 1, 2, 3)),
    *(("bf16", "bf16", zero, 1) for zero in (0, 1, 2, 3)),
    ("bf16", "fp32", 2, 1),
    ("fp32", "bf16", 2, 1),
    ("bf16", "bf16", 3, 2),
]


@pytest.mark.parametrize(
    ("base", "precision", "zero", "ranks"),
    [case if case == CASES[7] else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_evaluate_gives_the_scores_of_the_engine_after_its_last_step(base, precision, zero, ranks, inputs, tmp_path):
    options = trained(inputs, tmp_path, base, ranks, precision=precision, zero_stage=zero)
    merged(tmp_path, options)
    done = evaluated(inputs, tmp_path, options)
    assert done.returncode == 0, done.stderr[-3000:]
    last, metrics = read_json_lines(tmp_path / "training.jsonl")[-1], read_json(tmp_path / "metrics.json")
    assert read_json(tmp_path / "run.json")["precision"] == read_json(tmp_path / "merge.json")["precision"] == precision
    # In the same batches the sums are the same; two ranks make other batches, which bf16 rounds otherwise.
    tolerance = 1e-6 if ranks == 1 else 1e-2
    assert dev_loss(inputs, tmp_path, base) == pytest.approx(last["dev_loss"], rel=tolerance)
    if ranks == 1:
        assert (metrics["accuracy"], metrics["mcc"]) == (last["dev_accuracy"], last["dev_mcc"])


def scale_updates(record: Path, size: float) -> None:
    """Make every low-rank matrix B of a run's adapter random, of a size, as if the run had made it so."""
    from safetensors.torch import load_file, save_file

    file = adapter_of(record) / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: size * torch.randn(value.shape, generator=generator) if "lora_B" in name else value
        for name, value in load_file(file).items()
        if "lora_" in name
    }
    save_file(weights, file)
    config = json.loads((file.parent / "adapter_config.json").read_text())
    (file.parent / "adapter_config.json").write_text(json.dumps({**config, "modules_to_save": None}))
    run, made = Run.read(record), contents_of(file.parent).below(file.parent.name)
    files = {**run.outputs.files, **made.files}
    run.model_copy(update={"outputs": made.model_copy(update={"files": files})}).write(record)


@pytest.fixture(scope="module")
def small_update(inputs, tmp_path_factory):
    """A run on a bf16 base whose update is small, and the options that name it."""
    folder = tmp_path_factory.mktemp("small_update")
    options = trained(inputs, folder, "bf16")
    scale_updates(folder / "run.json", 1e-4)
    return folder, options


def test_an_update_that_bf16_rounds_away_is_told(small_update, inputs):
    folder, options = small_update
    said = merged(folder, options)
    assert "storing the merged model in bf16 keeps" in said
    assert evaluated(inputs, folder, options).returncode == 0
    storage = Merge.read(folder / "merge.json").storage
    assert storage.lossy and storage.least_kept <= storage.update_kept
    # The same by other means: the stored weights of both folders against the update that the adapter holds.
    assert storage.update_kept == pytest.approx(kept(inputs / "bf16", folder), rel=1e-4)


def kept(base: Path, folder: Path) -> float:
    adapted, _ = base_models.load_adapter(base, folder / "adapter", torch.float32)
    stored = {name: one.read().float() for name, one in stored_tensors(weight_files(folder / "merged")).items()}
    before = {name: one.read().float() for name, one in stored_tensors(weight_files(base)).items()}
    parts = []
    for name, module in adapted.named_modules():
        if hasattr(module, "lora_A") and len(module.lora_A):
            weight = name.removeprefix("base_model.model.") + ".weight"
            parts.append(((stored[weight] - before[weight]).norm(), module.get_delta_weight("default").norm()))
    left, right = np.square(np.array(parts, dtype=float)).sum(axis=0)
    return float(np.sqrt(left / right))


def test_in_fp32_all_of_it_is_kept(small_update, inputs, tmp_path):
    _, options = small_update
    options = ("--experiment", experiment(tmp_path, dtype="fp32"), *options[2:])
    assert "keeps" not in merged(tmp_path, options)
    assert evaluated(inputs, tmp_path, options).returncode == 0
    found = Merge.read(tmp_path / "merge.json")
    assert found.storage.dtype == "fp32" and found.storage.update_kept == pytest.approx(1, abs=1e-3)
    assert found.labels_changed == 0 and found.largest_difference < 1e-4


def test_a_merged_model_in_fp32_that_answers_otherwise_is_an_error(small_update, inputs, tmp_path):
    _, options = small_update
    options = ("--experiment", experiment(tmp_path, dtype="fp32"), *options[2:])
    merged(tmp_path, options)
    file = tmp_path / "merged/model.safetensors"
    content = bytearray(file.read_bytes())
    # The last bytes are of a weight; a byte of each of some numbers is changed.
    for place in range(len(content) - 4000, len(content), 4):
        content[place + 2] ^= 0x40
    file.write_bytes(content)
    # A merge that went wrong would have written down its own hashes.
    contents_of(file.parent).write(file.parent / "manifest.json")
    done = evaluated(inputs, tmp_path, options)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "does not answer as base + adapter" in done.stderr and str(tmp_path / "merged") in done.stderr
    assert not (tmp_path / "metrics.json").exists()
