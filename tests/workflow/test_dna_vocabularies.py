"""Models with the vocabularies of GENERator and of Carbon, in one configuration, through the whole chain."""

import json

import pytest
from transformers import AutoTokenizer

from dna_models import write_hybrid_tokenizer, write_kmer_tokenizer, write_llama
from dnatune.model.base_models import load_tokenizer
from predicted import assert_predicted_as_evaluated
from workflow_runs import Workplace, small

# The whole chain for two models; their tokenizers and prompts are also tested one by one.
pytestmark = pytest.mark.slow
MODELS = ("kmers", "hybrid")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabularies")
    write_llama(write_kmer_tokenizer(folder / "kmers"))
    write_llama(write_hybrid_tokenizer(folder / "hybrid"))
    models = {name: {"source": "directory", "directory": {"path": str(folder / name)}} for name in MODELS}
    models["kmers"]["prompt"] = {"answers": ["<->", "<+>"]}
    configuration = small(
        models={"tiny": None, **models},
        optimizers={"wild": None},
        evaluation={"baselines": ["majority"]},
    )
    workplace = Workplace(folder / "run")
    workplace.complete(configuration)
    assert workplace.plan(configuration).counts == {}
    return workplace.results


def json_at(path):
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("model", MODELS)
def test_each_model_learns_and_is_merged_and_scored(results, model):
    run = f"{model}/prom_core_all/adamw/seed3"
    losses = [json.loads(line)["loss"] for line in (results / f"finetune/{run}/training.jsonl").open()]
    # Random weights know neither which tokens are answers nor that these end.
    assert losses[-1] < 0.5 * losses[0]
    metrics, merge = (json_at(results / f"evaluate/{run}/{name}.json") for name in ("metrics", "merge"))
    assert metrics["status"] == "completed"
    assert merge["labels_changed"] == 0
    card = (results / f"evaluate/{run}/README.md").read_text("utf-8")
    assert ("`<->` for Non-promoter, `<+>` for promoter" in card) == (model == "kmers")
    assert ("`<dna>` and `</dna>`" in card) == (model == "hybrid")
    assert json_at(results / f"evaluate/zero-shot/{model}/prom_core_all/metrics.json")["n"] == metrics["n"] == 60


@pytest.mark.parametrize("model", MODELS)
def test_new_sequences_get_the_log_probabilities_of_evaluate(results, model, tmp_path):
    assert_predicted_as_evaluated(results, f"{model}/prom_core_all/adamw/seed3", tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_the_merged_folder_needs_neither_dnatune_nor_foreign_code(results, model):
    merged = results / f"merge/{model}/prom_core_all/adamw/seed3"
    assert not list(merged.rglob("*.py"))
    tokenizer = AutoTokenizer.from_pretrained(merged, trust_remote_code=False)
    base = load_tokenizer(results / f"download/models/{model}")
    texts = ["ACGTACGTN", "<dna>ACGTACGTN</dna> promoter", "<+>"]
    assert tokenizer(texts).input_ids == base(texts).input_ids


def test_the_prompt_is_part_of_the_run_only_where_it_was_configured(results):
    settings = {m: json_at(results / f"finetune/{m}/prom_core_all/adamw/seed3/run.json")["settings"] for m in MODELS}
    assert settings["kmers"]["prompt"] == {"answers": ["<->", "<+>"]} and "prompt" not in settings["hybrid"]
