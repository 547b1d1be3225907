"""The whole chain, from a configuration to a report."""

import csv
import json
import math
import re
import resource
import shutil
import zipfile

import pytest
import yaml

import forked_python
import make_tables
from dnatune.data.manifests import Manifest
from dnatune.settings.tasks import GUE
from workflow_runs import PYTHON, ROOT, Workplace, files_below, run, small

CONTRACTS = (ROOT / "docs" / "contracts.md").read_text("utf-8")
COMPLETED = "tiny/prom_core_all/adamw/seed3"
DIVERGED = "tiny/prom_core_all/wild/seed3"
STEPS = 40
#: Of every task; the Bayes-optimal classifier is known for simulated data alone.
BASELINES = ("majority", "gc", "kmers", "onehot", "positional", "memory", "bayes")

LOADS_WITHOUT_PEFT = """
import sys

sys.modules["peft"] = None
try:
    import peft
except ImportError:
    pass
else:
    raise SystemExit("peft can be imported")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
with torch.no_grad():
    logits = model(**tokenizer("TATAAAGCGC", return_tensors="pt", return_token_type_ids=False)).logits
assert logits.shape[-1] >= len(tokenizer)
assert torch.isfinite(logits).all()
assert logits.std() > 0
print("loaded", type(model).__name__)
"""
#: The baselines of simulated data, in the order of the table.
BASELINES = ("majority", "gc", "kmers", "onehot", "positional", "memory", "bayes")


def contract(section: str) -> dict[str, str]:
    """Return {name: meaning} of a table of docs/contracts.md; a row of several names stands for each of them.

    The keys of maps inside a map, whose names have a dot, are left out.
    """
    text = CONTRACTS.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("|").split("|", 1) for line in text.splitlines() if line.startswith("| `")]
    named = ((name, meaning) for names, meaning in rows for name in re.findall(r"`([^`]+)`", names))
    return {name: meaning for name, meaning in named if "/" in name or "." not in name}


def test_every_json_file_has_exactly_the_keys_of_its_model(chain):
    for name, model in make_tables.RECORDS.items():
        files = [path for path in chain.results.rglob(name) if "merge" not in path.parts]
        if model is Manifest:
            # Those of prepared records say what is there, and not where it came from.
            files = [path for path in files if "prepare" not in path.parts]
        # There are no searches, no pretrained models and no predictions here.
        assert files or name in ("choice.json", "pretraining.json", "<output>.json")
        for path in files:
            # Keys that a model does not have are refused here, in maps inside maps too.
            model.model_validate_json(json.dumps(json_of(path)))


def contract_paths() -> list[str]:
    """Return every path of the first table of docs/contracts.md, with its placeholders."""
    paths = []
    for line in CONTRACTS.split("\n## ", 1)[0].splitlines():
        if line.startswith("| `"):
            first, *others = re.findall(r"`([^`]+)`", line.split("|")[1])
            folder = first.rsplit("/", 1)[0]
            # A bare file name stands beside the file named before it.
            paths += [first, *(other if "/" in other else f"{folder}/{other}" for other in others)]
    assert paths
    return paths


def matcher(path: str) -> re.Pattern:
    """Return a pattern that a documented path matches; that of a folder matches all files below it."""
    pattern = re.sub(r"\\{([^}]*)\\}", lambda found: f"({found[1].replace(',', '|')})", re.escape(path))
    pattern = re.sub(r"<[^>]+>", "[^/]+", pattern)
    return re.compile(pattern + (".+" if path.endswith("/") else ""))


def table(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def header(path) -> list[str]:
    return path.read_text("utf-8").splitlines()[0].split("\t")


def json_lines(path) -> list[dict]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text("utf-8").splitlines()]


def json_of(path) -> dict:
    """Return a JSON file without the digest of its other keys."""
    content = json.loads(path.read_text("utf-8"), parse_constant=pytest.fail)
    content.pop("digest", None)
    return content


# The files


def test_every_documented_file_is_there(chain):
    found = files_below(chain.results)
    for path in contract_paths():
        # Checkpoints are there while a run goes on, tokens if a split is large, the rest if it is asked for.
        unless = ("/checkpoints/", "/tokens/", "/frozen/", "/pretraining.json", "predict/", "/rows.tsv")
        if any(part in path for part in unless):
            continue
        for alternative in expanded(path):
            assert any(matcher(alternative).fullmatch(file) for file in found), alternative


def expanded(path: str) -> list[str]:
    """Return the paths that `{a,b,c}` in a path stands for."""
    found = re.search(r"\{([^}]*)\}", path)
    return [path.replace(found[0], word) for word in found[1].split(",")] if found else [path]


def test_no_other_file_is_there(chain):
    documented = [matcher(path) for path in contract_paths() if "/checkpoints/" not in path]
    others = [
        file
        for file in files_below(chain.results)
        # Snakemake puts a time stamp into each folder that is an output.
        if not file.endswith(".snakemake_timestamp") and not any(pattern.fullmatch(file) for pattern in documented)
    ]
    assert others == []


def test_the_plan_was_there_before_any_test_score(chain):
    plan = chain.results / "plan/tiny/prom_core_all/plan.json"
    (version,) = json_of(plan)["versions"]
    assert version["test_scores"] == 0
    assert version["content"]["control"] in version["content"]["dev_scores"]
    scores = list((chain.results / "evaluate").rglob("metrics.json"))
    assert scores
    assert all(plan.stat().st_mtime < score.stat().st_mtime for score in scores)


def test_manifests_have_the_documented_keys(chain):
    for folder, source in (("data/prom_core_all", "simulated"), ("models/tiny", "tiny")):
        manifest = json_of(chain.results / "download" / folder / "manifest.json")
        assert manifest.keys() == contract("`manifest.json`").keys()
        assert manifest["source"] == source
        assert manifest["revision"] is None
        beside = set(files_below(chain.results / "download" / folder)) - {"manifest.json", ".snakemake_timestamp"}
        assert set(manifest["files"]) == beside


def test_prepared_records_are_the_rows_of_the_csv(chain):
    words = ("Non-promoter", "promoter")
    for split, size in (("train", 320), ("dev", 40), ("test", 60)):
        records = json_lines(chain.results / f"prepare/prom_core_all/{split}.jsonl")
        with (chain.results / f"download/data/prom_core_all/{split}.csv").open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert len(records) == size
        assert all(record.keys() == contract("a prepared record").keys() for record in records)
        assert [(r["input"], r["output"]) for r in records] == [(r["sequence"], words[int(r["label"])]) for r in rows]
        assert len({record["instruction"] for record in records}) == 1
    audit = json_of(chain.results / "prepare/prom_core_all/audit.json")
    assert audit.keys() == contract("`audit.json`").keys()


def test_the_training_log_has_every_step(chain):
    rows = json_lines(chain.results / "finetune" / COMPLETED / "training.jsonl")
    keys = contract("`training.jsonl`")
    sometimes = {key for key, meaning in keys.items() if "absent" in meaning}
    assert sometimes
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert [row["gradient_evaluations"] for row in rows] == list(range(1, STEPS + 1))
    for row in rows:
        # Dev examples are scored every 20 steps.
        assert row.keys() == keys.keys() - (set() if row["step"] % 20 == 0 else sometimes)
    assert [row["epoch"] for row in rows] == pytest.approx([step / 10 for step in range(1, STEPS + 1)])
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_run_says_what_made_it(chain):
    for place, status in ((COMPLETED, "completed"), (DIVERGED, "diverged")):
        record = json_of(chain.results / "finetune" / place / "run.json")
        assert record.keys() == contract("`run.json`").keys()
        assert record["status"] == status
        assert f"{record['model']}/{record['task']}/{record['optimizer']}/seed{record['seed']}" == place
        assert record["settings"]["seed"] == record["seed"] == 3
        assert record["global_batch_size"] == 32
        assert record["ranks"] == 1
        assert (chain.results / "merge" / place / "run.json").read_bytes() == (
            chain.results / "finetune" / place / "run.json"
        ).read_bytes()


def test_the_adapter_holds_its_tokenizer_and_no_pickle(chain):
    files = files_below(chain.results / "finetune" / COMPLETED / "adapter")
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= set(files)
    assert [file for file in files if file.endswith((".bin", ".pt"))] == []


def test_predictions_have_the_documented_columns_and_the_rows_of_the_test_split(chain):
    with (chain.results / "download/data/prom_core_all/test.csv").open(encoding="utf-8") as stream:
        truth = [row["label"] for row in csv.DictReader(stream)]
    documented = contract("`predictions.tsv`")
    assert list(documented) == ["id", "label", "predicted", "answer", "logp_<class index>"]
    folders = [
        COMPLETED,
        "zero-shot/tiny/prom_core_all",
        # The simulated sequences have no twins, so that `memory` does not apply.
        *(f"baselines/prom_core_all/{name}" for name in BASELINES if name != "memory"),
    ]
    for folder in folders:
        path = chain.results / "evaluate" / folder / "predictions.tsv"
        rows = table(path)
        assert header(path) == ["id", "label", "predicted", "logp_0", "logp_1"]
        assert [row["id"] for row in rows] == [str(number) for number in range(len(truth))]
        assert [row["label"] for row in rows] == truth
        for row in rows:
            scores = [float(row["logp_0"]), float(row["logp_1"])]
            assert row["predicted"] == str(scores.index(max(scores)))
            assert all(score <= 0 and math.isfinite(score) for score in scores)


def test_metrics_follow_from_the_predictions(chain):
    for folder in (COMPLETED, "baselines/prom_core_all/kmers"):
        rows = table(chain.results / "evaluate" / folder / "predictions.tsv")
        metrics = json_of(chain.results / "evaluate" / folder / "metrics.json")
        assert metrics.keys() == contract("`metrics.json`").keys()
        assert metrics["status"] == "completed"
        assert metrics["n"] == len(rows) == 60
        confusion = [[0, 0], [0, 0]]
        for row in rows:
            confusion[int(row["label"])][int(row["predicted"])] += 1
        assert metrics["confusion"] == confusion
        assert metrics["accuracy"] == pytest.approx((confusion[0][0] + confusion[1][1]) / 60)
        assert metrics["unparsable"] == 0


def test_the_base_model_is_asked_before_it_is_trained(chain):
    folder = chain.results / "evaluate/zero-shot/tiny/prom_core_all"
    found = json_of(folder / "contamination.json")
    assert found.keys() == contract("`contamination.json`").keys()
    assert (found["items"], found["dev_items"]) == (60, 40)
    assert found["signs"] == []
    row = next(row for row in table(chain.results / "compare/comparison.tsv") if row["optimizer"] == "zero-shot")
    assert float(row["mean"]) == json_of(folder / "metrics.json")["mcc"]
    # The data are simulated: figures published of a task of that name say nothing about them.
    assert "published" not in (chain.results / "compare/comparison.tsv").read_text("utf-8")


def test_the_comparison_has_a_row_a_group_and_a_row_a_baseline(chain):
    path = chain.results / "compare" / "comparison.tsv"
    assert header(path) == list(contract("`comparison.tsv`"))
    rows = table(path)
    assert [(row["model"], row["optimizer"]) for row in rows] == [
        ("tiny", "adamw"),
        ("tiny", "wild"),
        *(("baseline", name) for name in BASELINES),
        ("tiny", "zero-shot"),
        ("tiny", "zero-shot-centred"),
    ]
    metrics = json_of(chain.results / "evaluate" / COMPLETED / "metrics.json")
    assert rows[0]["status"] == "completed"
    assert rows[0]["seeds"] == "1"
    assert float(rows[0]["mean"]) == pytest.approx(metrics["mcc"])
    assert rows[0]["standard_deviation"] == ""
    assert int(rows[0]["gradient_evaluations"]) == STEPS
    assert "diverged" not in rows[0]["flags"].split()


def test_the_report_opens_offline(chain):
    page = (chain.results / "report.html").read_text("utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")
    fetched = r"<(?:script|img|iframe)[^>]*\bsrc=[\"'](?!data:)|<link\b[^>]*\bhref=|@import|url\(http"
    assert re.findall(fetched, page) == []
    for word in ("adamw", "wild", "prom_core_all"):
        assert word in page


def test_snakemake_reports_the_same_outputs(chain):
    archive = chain.folder / "report.zip"
    chain.complete(small(), "--report", archive)
    with zipfile.ZipFile(archive) as packed:
        names = {name.rsplit("/", 1)[-1] for name in packed.namelist()}
    assert {"comparison.tsv", "report.html"} <= names


# The merged model


def test_the_merged_model_is_a_plain_folder(chain):
    files = set(files_below(chain.results / "merge" / COMPLETED))
    assert {"model.safetensors", "config.json", "tokenizer.json", "run.json"} <= files
    assert [file for file in files if "adapter" in file or file.endswith((".bin", ".pt"))] == []


def test_the_merged_model_loads_where_peft_cannot_be_imported(chain, tmp_path):
    done = run([PYTHON, "-c", LOADS_WITHOUT_PEFT, chain.results / "merge" / COMPLETED], tmp_path)
    assert done.code == 0, done.output
    assert "loaded LlamaForCausalLM" in done.output


def test_the_merged_model_is_compared_with_the_trained_one(chain):
    folder = chain.results / "evaluate" / COMPLETED
    found, metrics = json_of(folder / "merge.json"), json_of(folder / "metrics.json")
    assert found.keys() == contract("`merge.json`").keys()
    assert (found["status"], found["precision"], found["items"]) == ("completed", "fp32", 60)
    # The base is stored in fp32, so nothing but the order of sums differs.
    assert found["labels_changed"] == 0 and found["largest_difference"] < 1e-4
    assert found["mcc"] == metrics["mcc"] and found["accuracy"] == metrics["accuracy"]


# Divergence is a result


def test_a_diverged_run_ends_well_and_leaves_no_model(chain):
    folder = chain.results / "finetune" / DIVERGED
    end = json_of(folder / "run.json")["diverged"]
    steps = json_lines(folder / "training.jsonl")
    assert end.keys() == {"step", "loss", "gradient_norm", "reason"}
    # The first loss is before any update; the update of size 1e4 shows in the second.
    assert end["step"] == steps[-1]["step"] == 2
    assert end["loss"] == steps[-1]["loss"] > 100
    assert end["gradient_norm"] == steps[-1]["gradient_norm"] > 0
    assert not (folder / "adapter").exists()
    assert set(files_below(chain.results / "merge" / DIVERGED)) - {".snakemake_timestamp"} == {
        "run.json",
        "manifest.json",
    }


def test_a_diverged_run_has_no_metric_and_no_prediction(chain):
    metrics = json_of(chain.results / "evaluate" / DIVERGED / "metrics.json")
    assert metrics.keys() == contract("`metrics.json`").keys()
    assert metrics.pop("status") == "diverged"
    assert {key for key, value in metrics.items() if value is not None} <= {"n", "seconds", "predictions"}
    assert table(chain.results / "evaluate" / DIVERGED / "predictions.tsv") == []
    agreement = json_of(chain.results / "evaluate" / DIVERGED / "merge.json")
    assert {key for key, value in agreement.items() if value is not None} == {"status", "items"}


def test_the_comparison_and_the_report_show_divergence(chain):
    row = next(row for row in table(chain.results / "compare/comparison.tsv") if row["optimizer"] == "wild")
    assert row["status"].startswith("diverged 1")
    assert row["mean"] == row["accuracy"] == row["mcc"] == ""
    assert "diverged" in row["flags"].split()
    text = re.sub(r"<[^>]+>", "", (chain.results / "report.html").read_text("utf-8"))
    assert "wild diverged in every run: lower the rate." in text
    assert "It ended so: seed 3 at step 2, because the loss is above divergence_loss" in " ".join(text.split())


# Other tasks, other ways


def test_free_decoding_counts_unparsable_answers_exactly(copied_chain):
    # With one token, a label of several pieces is cut short and no answer: both kinds occur.
    configuration = small(evaluation={"mode": "generate", "max_new_tokens": 1}, optimizers={"wild": None})
    copied_chain.complete(configuration)
    folder = copied_chain.results / "evaluate" / COMPLETED
    rows, metrics = table(folder / "predictions.tsv"), json_of(folder / "metrics.json")
    assert header(folder / "predictions.tsv") == ["id", "label", "predicted", "answer"]
    assert metrics.keys() == contract("`metrics.json`").keys()
    labels = ("Non-promoter", "promoter")
    for row in rows:
        answer = row["answer"].strip()
        assert row["predicted"] == (str(labels.index(answer)) if answer in labels else "")
    empty = [row for row in rows if row["predicted"] == ""]
    assert metrics["unparsable"] == len(empty)
    assert 0 < len(empty) < len(rows) == 60
    right = sum(row["predicted"] == row["label"] for row in rows)
    assert metrics["accuracy"] == pytest.approx(right / 60)
    assert sum(map(sum, metrics["confusion"])) == 60 - len(empty)
    assert metrics["auroc"] is None


def test_a_task_of_three_classes_from_a_folder(sites_chain, sites_task):
    results = sites_chain.results
    prepared = json_lines(results / "prepare/sites/test.jsonl")
    assert {record["output"] for record in prepared} == set(sites_task["labels"])
    assert {record["instruction"] for record in prepared} == {sites_task["instruction"]}
    assert all(set(record["input"]) <= set("ACGTN") for record in prepared)
    folder = results / "evaluate/tiny/sites/adamw/seed3"
    assert header(folder / "predictions.tsv") == ["id", "label", "predicted", "logp_0", "logp_1", "logp_2"]
    metrics = json_of(folder / "metrics.json")
    assert [sum(row) for row in metrics["confusion"]] == [15, 15, 15]
    assert 0 <= metrics["auroc"] <= 1
    rows = {row["optimizer"]: row for row in table(results / "compare/comparison.tsv") if row["task"] == "sites"}
    assert rows.keys() == {"adamw", *BASELINES, "zero-shot", "zero-shot-centred"}
    # The Bayes-optimal classifier is known for simulated data alone.
    assert rows["bayes"]["status"].startswith("not applicable: the task's data are not simulated")
    assert rows["adamw"]["metric"] == "f1_macro"
    assert float(rows["adamw"]["mean"]) == pytest.approx(metrics["f1_macro"])
    assert json_of(results / "download/data/sites/manifest.json")["source"] == "directory"


@pytest.mark.parametrize(
    "task",
    [
        "prom_core_tata",
        pytest.param("human_tf_0", marks=pytest.mark.slow),
        pytest.param("prom_core_all", marks=pytest.mark.slow),
    ],
)
def test_a_task_of_gue_by_one_line(task, shared, tmp_path):
    workplace = Workplace(tmp_path)
    demo = ROOT / "config" / "demo.yaml"
    whole = yaml.safe_load(demo.read_text("utf-8"))
    short = {
        "seeds": [0],
        "budget": {**dict.fromkeys(whole["budget"]), "steps": 3},
        "optimizers": dict.fromkeys(whole["optimizers"].keys() - {"adamw"}),
        "comparison": dict.fromkeys(whole["comparison"]),
        "models": {"tiny": {"source": "tiny", "tiny": {"hidden_size": 32, "layers": 1, "intermediate_size": 64}}},
        "training": {"dev_examples": 64},
        "evaluation": {"baselines": ["majority", "gc"]},
    }
    shortened = tmp_path / "short.yaml"
    shortened.write_text(yaml.safe_dump(short), "utf-8")
    source = json.dumps({"source": "directory", "directory": {"path": str(shared / "GUE")}})
    workplace.complete([demo, shortened], "--config", "name=mine", f"data={source}", f'tasks=["{task}"]')
    results = tmp_path / "results" / "mine"
    assert (results / "report.html").stat().st_size > 0
    with (shared / "GUE/GUE" / task / "test.csv").open(encoding="utf-8") as stream:
        truth = [row["label"] for row in csv.DictReader(stream)]
    predictions = table(results / f"evaluate/tiny/{task}/adamw/seed0/predictions.tsv")
    assert [row["label"] for row in predictions] == truth
    assert json_of(results / f"finetune/tiny/{task}/adamw/seed0/run.json")["steps"] == 3
    rows = table(results / "compare/comparison.tsv")
    own = {row["optimizer"] for row in rows if row["model"] != "published"}
    assert own == {"adamw", "majority", "gc", "zero-shot", "zero-shot-centred"}
    assert {row["optimizer"] for row in rows} - own >= {"DNABERT-2", "HyenaDNA"}


def test_the_command_line_takes_numbers_and_null_inside_maps_and_lists(chain):
    # Snakemake reads the inner values of --config as text; the workflow must give them their types back.
    line = ["seeds=[3]", 'lora={"dropout": 0.0}', 'training={"gradient_checkpointing": false}']
    assert chain.plan(small(), "--config", *line).counts == {}
    plan = chain.plan(small(), "--config", 'optimizers={"wild": null}', 'budget={"steps": null, "epochs": 4}')
    # Of wild only the comparison changes, and 4 epochs are another setting, if no other length.
    assert plan.counts == {"finetune": 1, "evaluate": 1, "compare": 1}


@pytest.mark.slow
def test_all_of_gue_with_six_optimizers_and_five_seeds_is_planned_quickly(tmp_path):
    """840 runs and as many trials, 2,186 jobs; measured: 6 s of a core, 244 MB. A log-in node allows moments."""
    names = ("adamw", "sgd", "rk4", "rk4_single_gradient", "rkc", "rk4_adam")
    whole = small(
        models={"tiny": None, "base": {"source": "hub", "hub": {"repo": "a/b", "revision": "main"}}},
        data={"source": "hub", "simulated": None, "hub": {"repo": "a/c", "revision": "main"}},
        tasks=list(GUE),
        seeds=[0, 1, 2, 3, 4],
        optimizers={
            "wild": None,
            "adamw": {"learning_rate": None},
            **{name: {} for name in names[1:]},
        },
        tuning={"rates": {name: {"from": 1e-4, "to": 1e-2} for name in names}},
    )
    workplace = Workplace(tmp_path / "whole", PYTHON)
    # Of the processor, not of the clock: other tests run beside this one.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    counts = workplace.plan(whole).counts
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert counts["finetune"] == counts["trial"] == 840
    assert workplace.plan({**whole, "runs_per_job": 5}).counts == {**counts, "finetune": 168}
    assert counts["choose"] == counts["evaluate"] == 168
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 30
    assert 50_000 < workplace.peak_kilobytes(whole, "--dry-run") < 1_000_000


@pytest.mark.parametrize("mode", ["labels", pytest.param("generate", marks=pytest.mark.slow)])
def test_ranks_that_share_a_test_set_predict_what_one_predicts(mode, chain, tmp_path):
    """Batches of 7 of the 60 items: uneven shares, and a last batch that is not full."""
    experiment = tmp_path / "experiment.json"
    experiment.write_text(json.dumps(small(evaluation={"mode": mode, "batch_size": 7})), "utf-8")
    rows = {}
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        command = forked_python.stage(
            "launch",
            "--ranks",
            str(ranks),
            "--cpus",
            str(ranks),
            "evaluate",
            "--experiment",
            experiment,
            "--task",
            "prom_core_all",
        )
        command += ["--model", chain.results / "download/models/tiny", "--merged", chain.results / "merge" / COMPLETED]
        command += ["--record", chain.results / "finetune" / COMPLETED / "run.json"]
        command += ["--agreement", folder / "merge.json"]
        command += ["--test", chain.results / "prepare/prom_core_all/test.jsonl"]
        command += ["--predictions", folder / "predictions.tsv", "--metrics", folder / "metrics.json"]
        done = run(command, tmp_path)
        assert done.code == 0, done.output
        rows[ranks] = [line.split("\t") for line in (folder / "predictions.tsv").read_text().splitlines()]
    assert len(rows[1]) == 61
    if mode == "generate":
        assert rows[3] == rows[1]
        return
    assert [row[:3] for row in rows[3]] == [row[:3] for row in rows[1]]
    scores = {ranks: [[float(value) for value in row[3:]] for row in rows[ranks][1:]] for ranks in rows}
    # The same batches; a product may be summed in another order where a rank has fewer threads.
    assert scores[3] == [pytest.approx(row, rel=1e-5, abs=1e-6) for row in scores[1]]


def test_ranks_score_one_run_after_the_other(copied_chain):
    """What a site with `rules.evaluate.ranks_per_node` starts; one of the runs has diverged."""
    folder = copied_chain.results / "evaluate"
    expected = [table(folder / place / "predictions.tsv") for place in (COMPLETED, DIVERGED)]
    for place in (COMPLETED, DIVERGED):
        shutil.rmtree(folder / place)
    command = forked_python.stage("evaluate_runs", "--experiment", "results/small/experiment.json")
    command += ["--results", "results/small", "--ranks", "2"]
    done = run([*command, COMPLETED, DIVERGED], copied_chain.folder)
    assert done.code == 0, done.output
    scored = [table(folder / place / "predictions.tsv") for place in (COMPLETED, DIVERGED)]
    assert [len(rows) for rows in scored] == [60, 0]
    for found, known in zip(scored[0], expected[0], strict=True):
        assert (found["id"], found["label"]) == (known["id"], known["label"])
        assert float(found["logp_0"]) == pytest.approx(float(known["logp_0"]), rel=1e-5, abs=1e-6)
    # Without --keep-merged none stays.
    assert not any((copied_chain.results / "merge" / place).exists() for place in (COMPLETED, DIVERGED))
    for wrong, said in (("tiny/prom_core_all/adamw/seed9", "seed9"), ("adamw", "adamw")):
        refused = run([*command, wrong], copied_chain.folder)
        assert refused.code and said in refused.output and "Traceback" not in refused.output
    (copied_chain.results / "finetune" / COMPLETED / "run.json").unlink()
    refused = run([*command, COMPLETED], copied_chain.folder)
    assert refused.code and "file not found" in refused.output and "Traceback" not in refused.output


def test_the_status_of_a_finished_run_names_scores_and_report(chain):
    command = forked_python.stage("status")
    assert run([*command, "--line"], chain.folder).output == "small: 2 runs: 1 diverged, 1 scored\n"
    told = json.loads(run([*command, "results/small", "--json"], chain.folder).output)
    scored = json.loads((chain.results / "evaluate/tiny/prom_core_all/adamw/seed3/metrics.json").read_text())
    assert told["runs"][0]["score"] == scored["mcc"]
    assert (told["report"], told["failures"]) == ("results/small/report.html", [])
    done = run([*command, "results/other"], chain.folder)
    assert done.code == 2 and "no experiment was started there" in done.output
