"""Models as the field has them go through the whole chain: what is scored is what was trained, or one message says why.

`field/make_models.py` among the shared data makes them, tiny and random, each with its tokenizer.
"""

import re
import shlex

import pytest

import forked_python
from dnatune.evaluation.agreement import Merge
from dnatune.settings import experiment
from workflow_runs import Workplace, run, small

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
def task(shared, tmp_path_factory):
    """A folder of data: 48, 16 and 24 sequences of 40 bases, GC-rich or GC-poor."""
    folder = tmp_path_factory.mktemp("data")
    words = [shared / "field/make_data.py", folder / "prom_core_all", "48", "16", "24"]
    made = run([forked_python.interpreter(), *words], folder)
    assert made.code == 0, made.output
    return folder


@pytest.fixture
def chain(shared, task, tmp_path):
    """A function that makes a model and runs the chain's commands until one fails; it returns that one and its log."""

    def run_chain(kind):
        model = tmp_path / "model"
        words = [shared / "field/make_models.py", kind, model, task / "prom_core_all/train.csv"]
        made = run([forked_python.interpreter(), *words], tmp_path)
        assert made.code == 0, made.output
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
        planned = workplace.complete(config, "--dry-run", "--printshellcmds")
        experiment.resolve(config).write(workplace.results / "experiment.json")
        commands = re.findall(r"^Shell command: python -m dnatune --log (\S+) (.*)$", planned.output, re.MULTILINE)
        assert len(commands) == 10
        for log, stage in commands:
            if run(forked_python.stage("--log", log, *shlex.split(stage)), workplace.folder).code:
                return stage, (workplace.folder / log).read_text("utf-8"), workplace
        return None, "", workplace

    return run_chain


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
