"""An encoder with a classification head goes the way of every other model, from its folder to the report."""

import csv
import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import forked_python
from dnatune.files import read_json, read_json_lines
from encoders import make_encoder
from predicted import assert_predicted_as_evaluated
from report_pages import words
from workflow_runs import Workplace, run, small

ENCODER = "encoder/prom_core_all"
ATTENTION = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    """Two optimizers of other numbers of stages on an encoder, with the same gradient evaluations."""
    calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    base = make_encoder(tmp_path_factory.mktemp("base") / "encoder", **calm)
    return small(
        models={
            "tiny": None,
            "encoder": {"source": "directory", "directory": {"path": str(base)}, "head": "classification"},
        },
        optimizers={"wild": None, "heun": {"learning_rate": 0.1}},
        budget={"steps": None, "gradient_evaluations": 24},
        # Nothing of Llama's default is among an encoder's modules.
        lora={"rank": 4, "dropout": 0.0},
        evaluation={"baselines": ["gc"]},
    )


@pytest.fixture(scope="module")
def chain(configuration, tmp_path_factory):
    place = Workplace(tmp_path_factory.mktemp("encoders"))
    place.complete(configuration)
    return place


def table(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.mark.parametrize(("optimizer", "steps"), [("adamw", 24), ("heun", 12)])
def test_every_run_is_trained_scored_and_merged(chain, optimizer, steps):
    place = f"{ENCODER}/{optimizer}/seed3"
    record = read_json(chain.results / "finetune" / place / "run.json")
    assert (record["status"], record["steps"], record["gradient_evaluations"]) == ("completed", steps, 24)
    assert record["settings"]["head"] == "classification"
    # What was trained is written down, not the default that it stands for.
    assert record["settings"]["lora"]["target_modules"] == ATTENTION
    assert record["settings"]["lora"]["modules_to_save"] == []
    assert record["shared_prefix"] is False
    rows = read_json_lines(chain.results / "finetune" / place / "training.jsonl")
    # What knows nothing has a loss of 0.69 nats per example.
    assert rows[0]["loss"] < 1 and rows[-1]["dev_loss"] < 1
    assert rows[0]["model_flop_utilisation"] is None
    merge = read_json(chain.results / "evaluate" / place / "merge.json")
    assert merge["labels_changed"] == 0
    assert merge["storage"]["update_kept"] == pytest.approx(1, abs=1e-5)
    card = (chain.results / "evaluate" / place / "README.md").read_text("utf-8")
    assert "pipeline_tag: text-classification" in card
    assert "classification head" in card


@torch.no_grad()
def test_predictions_are_what_plain_transformers_says_of_the_merged_folder(chain):
    place = f"{ENCODER}/adamw/seed3"
    folder = chain.results / "merge" / place
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.id2label == {0: "Non-promoter", 1: "promoter"}
    records = read_json_lines(chain.results / "prepare/prom_core_all/test.jsonl")
    predictions = table(chain.results / "evaluate" / place / "predictions.tsv")
    for row in predictions:
        inputs = tokenizer(records[int(row["id"])]["input"], return_tensors="pt")
        expected = model(**inputs).logits[0].log_softmax(-1).tolist()
        assert [float(row["logp_0"]), float(row["logp_1"])] == pytest.approx(expected, abs=1e-4)
    assert len({row["logp_0"] for row in predictions}) > len(predictions) / 2


def test_new_sequences_get_the_log_probabilities_of_evaluate(chain, tmp_path):
    assert_predicted_as_evaluated(chain.results, f"{ENCODER}/adamw/seed3", tmp_path)


def test_the_page_compares_the_optimizers_and_says_what_was_not_asked(chain):
    page = words((chain.results / "report.html").read_text("utf-8"))
    assert "Not asked: encoder." in page
    assert not (chain.results / "evaluate/zero-shot").exists()
    rows = {row["optimizer"]: row for row in table(chain.results / "compare/comparison.tsv")}
    assert {"adamw", "heun", "gc"} <= rows.keys()
    assert not {"zero-shot", "zero-shot-centred"} & rows.keys()
    assert (rows["adamw"]["head"], rows["gc"]["head"]) == ("classification", "")
    tested = table(chain.results / "compare/tests.tsv")[0]
    assert {tested["first"], tested["second"]} == {"adamw", "heun"}


def test_two_ranks_train_as_one_does(chain, configuration, tmp_path):
    experiment = tmp_path / "experiment.json"
    experiment.write_text(json.dumps(configuration), "utf-8")
    command = forked_python.stage("launch", "--ranks", "2", "--cpus", "2", "--state", tmp_path / "state")
    command += ["finetune", "--experiment", experiment, "--run", f"{ENCODER}/adamw/seed3"]
    command += ["--model", chain.results / "download/models/encoder", "--checkpoints", tmp_path / "state"]
    for split in ("train", "dev"):
        command += [f"--{split}", chain.results / f"prepare/prom_core_all/{split}.jsonl"]
    command += ["--record", tmp_path / "run.json", "--training-log", tmp_path / "training.jsonl"]
    done = run(command, tmp_path)
    assert done.code == 0, done.output
    one = read_json_lines(chain.results / f"finetune/{ENCODER}/adamw/seed3/training.jsonl")
    two = read_json_lines(tmp_path / "training.jsonl")
    assert len(two) == len(one) == 24
    # Sums in another order, through 24 steps of a rate that is high on purpose.
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-3)
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-6)
