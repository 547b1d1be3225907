"""Model cards: the hub's own reader takes them, and the numbers are those of the run."""

import re

import pytest
import torch
from huggingface_hub import ModelCard

from dnatune.data.manifests import Manifest
from dnatune.data.prompt_form import PromptForm
from dnatune.data.prompts import encode_examples
from dnatune.evaluation import agreement
from dnatune.evaluation.metrics import Metrics
from dnatune.model.base_models import load_tokenizer, load_whole
from dnatune.model.label_likelihood import LabelLikelihood
from dnatune.model.scoring import label_log_probabilities
from dnatune.report.model_card import model_card
from dnatune.training.record import Run
from merge_records import merge_record
from samples import TASK, split_of
from synthetic_results import Results

HUB = Manifest(source="hub", origin="owner/base", requested="main", revision="a" * 40, settings={}, files={}, large={})
TINY = Manifest(source="tiny", origin="a tiny Llama", requested=None, revision=None, settings={}, files={}, large={})


@pytest.fixture
def run(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw", 3)
    return Run.read(made.run_records[0]), Metrics.read(made.evaluations[0] / "metrics.json")


def test_the_hub_reads_base_model_and_results(run):
    record, metrics = run
    card = ModelCard(model_card(record, metrics, merge_record(), HUB))
    assert card.data.base_model == "owner/base"
    assert card.data.library_name == "transformers"
    found = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert found.keys() == {"matthews_correlation", "accuracy", "f1", "roc_auc"}
    assert found["matthews_correlation"] == pytest.approx(metrics.mcc, abs=1e-6)
    assert {one.dataset_name for one in card.data.eval_results} == {"prom_core_all"}
    assert {one.dataset_split for one in card.data.eval_results} == {"test"}


def test_the_text_says_what_made_it(run):
    record, metrics = run
    text = ModelCard(model_card(record, metrics, merge_record(), HUB)).text
    for word in ("owner/base, revision " + "a" * 40, "learning_rate 0.001", "Is it one?", record.inputs.train):
        assert word in text
    assert f"| MCC | {metrics.mcc:.3f} |" in text


def test_its_program_scores_the_labels_as_dnatune_does(run, tiny_model, monkeypatch, capsys):
    record, metrics = run
    task = {"labels": list(TASK.labels), "instruction": TASK.instruction}
    record = record.model_copy(update={"settings": {**record.settings, "task": task}})
    text = model_card(record, metrics, merge_record(), TINY)
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tiny_model)
    exec(compile(program, "card", "exec"), {})  # noqa: S102
    found = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    (sequence,) = re.findall(r'^sequence = "(.*)"$', program, re.MULTILINE)
    examples = encode_examples(load_tokenizer(tiny_model), split_of([(sequence, 0)]), TASK.labels, 512, "card")
    model, _ = load_whole(tiny_model, torch.float32)
    scores = label_log_probabilities(LabelLikelihood(model.eval()), examples, [0], 1, False, "cpu")
    # fp32 sums in another order.
    assert [float(found[label]) for label in TASK.labels] == pytest.approx(scores[0].tolist(), abs=1e-4)


def test_it_says_how_the_merged_weights_differ_from_what_was_scored(run):
    text = ModelCard(model_card(*run, merge_record(600, update_kept=0.75), HUB)).text
    assert "| bf16, which keeps 0.750 of the update with an error of 0.100; 150 of 600 answers differ" in text
    assert "log-probabilities by at most 0.01 nats |" in text
    assert "scored with base + adapter in fp32" in text


def test_it_says_what_is_asked_and_answered_without_words(run):
    plain, asked = ModelCard(model_card(*run, merge_record(), HUB)).text, "The model answers this instruction"
    assert asked in plain and "tokens:" not in plain
    form = PromptForm("sequence", ("<dna>", "</dna>"), "pad_left", 6, ("<sp0>", "<sp1>", "<sp2>"))
    record, metrics = run
    settings = {**record.settings, "task": {**record.settings["task"], "labels": ["Non-promoter", "promoter"]}}
    record = record.model_copy(update={"settings": settings})
    text = ModelCard(model_card(record, metrics, merge_record(), HUB, form)).text
    assert "The answers are tokens: `<sp0>` for Non-promoter, `<sp1>` for promoter." in text
    assert "The prompt is the sequence alone." in text and asked not in text
    assert "`<dna>` and `</dna>`" in text and "filled up with A on the left to a multiple of 6 bases" in text


def test_a_base_model_that_is_on_no_hub_is_named_in_the_text_alone(run):
    card = ModelCard(model_card(*run, merge_record(), TINY))
    assert card.data.base_model is None
    assert "a tiny Llama (tiny)" in card.text


def test_a_metric_that_does_not_exist_is_left_out(run):
    record, metrics = run
    card = ModelCard(model_card(record, metrics.model_copy(update={"auroc": None}), merge_record(), HUB))
    assert "roc_auc" not in {one.metric_type for one in card.data.eval_results}
    assert "AUROC" not in card.text


def test_of_a_diverged_run_there_is_no_model(tmp_path):
    made = Results(tmp_path)
    made.add_run("sgd", diverged_at=5)
    record, metrics = (Run.read(made.run_records[0]), Metrics.read(made.evaluations[0] / "metrics.json"))
    text = model_card(record, metrics, agreement.diverged(), TINY)
    assert "There is no model: training diverged at step 5, because the loss is not finite." in text
    assert not text.startswith("---")
