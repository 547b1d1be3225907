"""Models as the field has them go through the whole chain: what is scored is what was trained, or one message says why.

`field/make_models.py` among the shared data makes them, tiny and random, each with its tokenizer.
"""

import json
import re
import shlex
import subprocess

import pytest

import forked_snakemake
from dnatune.evaluation.agreement import Merge
from dnatune.settings import experiment
from workflow_runs import PYTHON, ROOT, Workplace, small

#: What is trained, where the names of modules are not Llama's.
MODULES = {
    "gpt2": (["c_attn"], ["wte", "lm_head"]),
    "gptneox": (["query_key_value"], ["embed_in", "lm_head"]),
    "phi3": (["qkv_proj"], ["embed_tokens", "lm_head"]),
}
LLAMA = (["q_proj", "v_proj"], ["embed_tokens", "lm_head"])
RIGHT = (
    *("llama", "llama-tied", "llama3-rope", "llama-fp16", "llama-bf16", "qwen2-tied", "qwen3-tied", "gemma2", "phi3"),
    *("gptneox", "gpt2", "mixtral", "spm-only", "llamafast-bytelevel", "bad-generation", "left-over-adapter"),
    *("extra-tokens", "mixtral-dna-eos"),
)
#: Where a model is refused and how the message begins.
REFUSED = {
    "no-lm-head": ("download model", "ModelError: the weights do not fit the model's architecture, LlamaForCausalLM"),
    "zero3": ("download model", "ModelError: the weights do not fit the model's architecture, LlamaForCausalLM"),
    "gpt2-short": ("launch", "ModelError: the model has an embedding for each of 64 positions"),
    "quantised-bnb": ("download model", "ModelError: the weights are quantized (bitsandbytes, 4 bits)"),
    "custom-tokenizer": ("download model", "ModelError: the tokenizer is the class KmerTokenizer in a Python file"),
    "mixtral-dna": ("launch", "ModelError: the tokenizer has no end-of-sequence token"),
}


@pytest.fixture(scope="module")
def run_stage():
    """A function that runs a stage, or a script, in a fork of a process that has imported the libraries."""
    server = subprocess.Popen(
        [PYTHON, ROOT / "tests/support/forked_stages.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run(words, folder, log):
        log.parent.mkdir(parents=True, exist_ok=True)
        server.stdin.write(json.dumps({"words": words, "folder": str(folder), "log": str(log)}) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    yield run
    server.communicate()


@pytest.fixture(scope="module")
def task(shared, run_stage, tmp_path_factory):
    """A folder of data: 48, 16 and 24 sequences of 40 bases, GC-rich or GC-poor."""
    folder = tmp_path_factory.mktemp("data")
    words = [str(shared / "field/make_data.py"), str(folder / "prom_core_all"), "48", "16", "24"]
    assert run_stage(words, folder, folder / "made.log") == 0
    return folder


@pytest.fixture
def chain(shared, task, run_stage, tmp_path):
    """A function that makes a model and runs the chain's commands until one fails; it returns that one and its log."""

    def run(kind):
        model, made = tmp_path / "model", tmp_path / "made.log"
        words = [str(shared / "field/make_models.py"), kind, str(model), str(task / "prom_core_all/train.csv")]
        assert run_stage(words, tmp_path, made) == 0, made.read_text("utf-8")
        targets, saved = MODULES.get(kind, LLAMA)
        config = small(
            models={"tiny": None, "field": {"source": "directory", "directory": {"path": str(model)}}},
            data={"source": "directory", "directory": {"path": str(task)}},
            optimizers={"wild": None},
            budget={"steps": 2},
            lora={"target_modules": targets, "modules_to_save": saved},
            training={"global_batch_size": 16, "evaluation_steps": 2},
            merge={"dtype": "fp32"},
        )
        workplace = Workplace(tmp_path / "run")
        command = workplace.command(config, "--dry-run", "--printshellcmds")[3:]
        planned = forked_snakemake.run(command, workplace.folder, {"DNATUNE_SITE": str(workplace.site)})
        assert planned.code == 0, planned.output
        experiment.resolve(config).write(workplace.results / "experiment.json")
        commands = re.findall(r"^Shell command: python -m dnatune --log (\S+) (.*)$", planned.output, re.MULTILINE)
        assert len(commands) == 10
        for log, stage in commands:
            if run_stage(shlex.split(stage), workplace.folder, workplace.folder / log):
                return stage, (workplace.folder / log).read_text("utf-8"), workplace
        return None, "", workplace

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_scored_is_what_was_trained(chain, kind):
    failed, said, workplace = chain(kind)
    assert not failed, f"{failed}\n{said[-3000:]}"
    merged = Merge.read(workplace.results / "evaluate/field/prom_core_all/adamw/seed3/merge.json")
    # The run has a model of its own, so its scores are not the base model's; both are computed in fp32.
    assert merged.items == 24 and merged.labels_changed == 0 and merged.largest_difference < 1e-3
    of_run, of_base = (
        (workplace.results / "evaluate" / place / "predictions.tsv").read_text("utf-8")
        for place in ("field/prom_core_all/adamw/seed3", "zero-shot/field/prom_core_all")
    )
    assert of_run != of_base
    assert (workplace.results / "report.html").stat().st_size > 100_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_cannot_be_right_is_refused_before_training(chain, kind):
    stage, message = REFUSED[kind]
    failed, said, workplace = chain(kind)
    assert failed and failed.startswith(stage), said[-3000:]
    assert f"dnatune: {message}" in said and "Traceback" not in said
    assert said.count("\n  to do: ") == 1
    assert " step 1 of 2" not in said and not [*workplace.results.glob("finetune/**/run.json")]
