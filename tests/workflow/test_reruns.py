"""A changed setting reruns what depends on it and nothing else."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import yaml

from hub_server import Repository, serve
from workflow_runs import Workplace, said, small

TASK = "prom_core_all"
INSTRUCTION = "Is this a core promoter? Answer Non-promoter or promoter."
#: Jobs of two optimizers on one task, from its downloaded files on.
WHOLE_TASK = {"prepare": 1, "finetune": 2, "evaluate": 2, "evaluate_base": 1}
WHOLE_TASK |= {"evaluate_baseline_dev": 1, "plan": 1, "evaluate_baseline": 1, "compare": 1}


def assert_only(outputs, *parts):
    """Assert that every output but those of the comparison has one of the parts in its path."""
    own = ("report.html", "ro-crate-metadata.json")
    made = [path for path in outputs if "/compare/" not in path and not path.endswith(own)]
    assert made
    assert [path for path in made if not any(part in path for part in parts)] == []


def test_an_unchanged_configuration_has_nothing_to_do(chain):
    done = chain.complete(small())
    assert "Nothing to be done" in done.output


def test_a_default_written_out_changes_nothing(chain):
    plan = chain.plan(small(training={"max_grad_norm": 1.0, "schedule": "cosine"}, lora={"dropout": 0.0}))
    assert plan.counts == {}


def test_the_configuration_among_the_results_changes_nothing(chain):
    assert chain.plan(chain.results / "compare/configuration.yaml").counts == {}


def test_another_site_changes_nothing(chain, tmp_path):
    elsewhere = Workplace(chain.folder)
    elsewhere.site = tmp_path / "site.yaml"
    other = {"ranks_per_node": 2, "cpus_per_rank": 3, "mem_mb": 9000, "runtime": "2d"}
    elsewhere.site.write_text(yaml.safe_dump(other))
    assert elsewhere.plan(small()).counts == {}


def test_a_learning_rate_reruns_its_optimizer(chain):
    plan = chain.plan(small(optimizers={"adamw": {"learning_rate": 1.0e-2}}))
    assert plan.counts == {"finetune": 1, "evaluate": 1, "compare": 1}
    assert_only(plan.outputs, "/adamw/")


def test_an_overridden_key_reruns_only_who_does_not_override_it(chain):
    plan = chain.plan(small(training={"divergence_loss": 90.0}, optimizers={"wild": {"divergence_loss": 100.0}}))
    assert plan.counts == {"finetune": 1, "evaluate": 1, "compare": 1}
    assert_only(plan.outputs, "/adamw/")


def test_the_adapter_reruns_every_optimizer_and_no_data(chain):
    plan = chain.plan(small(lora={"rank": 2}))
    assert plan.counts == {"finetune": 2, "evaluate": 2, "compare": 1}


def test_an_instruction_reruns_all_but_the_data_download(chain):
    plan = chain.plan(small(tasks=[{"name": TASK, "instruction": INSTRUCTION}]))
    # The tiny model's tokenizer is made from the first task's prompt, so the model follows the instruction.
    assert plan.counts == {"download_model": 1, **WHOLE_TASK}


def test_the_metric_reruns_the_comparison(chain):
    plan = chain.plan(small(tasks=[{"name": TASK, "metric": "f1_macro"}]))
    assert plan.counts == {"compare": 1}


def test_a_margin_chosen_after_the_scores_is_on_the_page(copied_chain):
    copied_chain.complete(small(comparison={"equivalence_margin": 0.07}))
    plan = json.loads((copied_chain.results / f"plan/tiny/{TASK}/plan.json").read_text("utf-8"))
    assert [one["changes"] for one in plan["versions"]] == [[], ["equivalence_margin: 0.01 → 0.07"]]
    page = (copied_chain.results / "report.html").read_text("utf-8")
    assert "the plan was changed: equivalence_margin: 0.01 → 0.07." in page


def test_a_change_is_not_lost_where_the_plan_could_not_be_revised(copied_chain):
    changed, plan = small(comparison={"equivalence_margin": 0.07}), copied_chain.results / f"plan/tiny/{TASK}/plan.json"
    plan.write_text("[]", "utf-8")
    done = copied_chain.snakemake(changed)
    assert done.code != 0 and "Traceback" not in done.output and f"plan/tiny/{TASK}/plan.json" in done.output
    plan.unlink()
    copied_chain.complete(changed)
    (version,) = json.loads(plan.read_text("utf-8"))["versions"]
    assert version["content"]["equivalence_margin"] == 0.07 and version["test_scores"] > 0


def test_what_cannot_change_a_result_reruns_nothing(chain):
    changes = {
        "training": {"logging_steps": 3, "save_steps": 7, "save_total_limit": 1, "ddp_timeout": 60},
        "evaluation": {"batch_size": 16},
        "benchmark": {"patience": 1},
        "keep_merged": False,
    }
    assert chain.plan(small(**changes)).counts == {}
    assert chain.plan(small(optimizers={"adamw": {"save_steps": 7}})).counts == {}


def test_a_deepspeed_file_reruns_by_its_content(chain, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text("{}", "utf-8")
    configuration = small(training={"deepspeed": str(file)})
    assert chain.plan(configuration).counts == {}
    file.write_text('{"zero_optimization": {"reduce_bucket_size": 1000}}', "utf-8")
    assert chain.plan(configuration).counts["finetune"] == 2
    file.write_text('{"optimizer": {"type": "Adam"}}', "utf-8")
    refused = chain.snakemake(configuration, "-n")
    assert refused.code and "training.deepspeed.optimizer" in refused.output and "Traceback" not in refused.output


def test_a_run_that_was_cut_short_continues_after_a_change_that_cannot_change_its_result(start_training, tmp_path):
    first = start_training(tmp_path, budget={"steps": 200}, training={"save_steps": 5})
    ends = time.monotonic() + 120
    while not [*tmp_path.glob("checkpoints/*/step-*[0-9]")]:
        assert first.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    first.kill()
    first.wait()
    changed = {"save_steps": 1000, "save_total_limit": 1, "logging_steps": 50, "ddp_timeout": 600}
    # Inside a job the launcher waits until the ranks of the first are gone.
    log = said(start_training(tmp_path, job="1", budget={"steps": 200}, training=changed))
    assert "continuing from checkpoint step-" in log
    training = json.loads((tmp_path / "run.json").read_text("utf-8"))["settings"]["training"]
    assert changed.items() <= training.items()


def test_another_evaluation_reruns_evaluation_and_comparison(chain):
    plan = chain.plan(small(evaluation={"max_new_tokens": 9}))
    assert plan.counts == {"evaluate": 2, "evaluate_base": 1, "compare": 1}


def test_other_baselines_score_the_test_split_anew_after_the_plan(chain):
    """The control is chosen among them, which must be done before any test score exists."""
    plan = chain.plan(small(evaluation={"baselines": ["majority", "gc"]}))
    scoring = {"evaluate": 2, "evaluate_base": 1, "evaluate_baseline": 1}
    assert plan.counts == {"evaluate_baseline_dev": 1, "plan": 1, **scoring, "compare": 1}


def test_a_seed_added_runs_only_that_seed(chain):
    plan = chain.plan(small(seeds=[3, 4]))
    assert plan.counts == {"finetune": 2, "evaluate": 2, "compare": 1}
    # One job scores all seeds of an optimizer; the next test shows that it leaves the others alone.
    assert_only([path for path in plan.outputs if "/evaluate/" not in path], "/seed4")


def test_a_seed_added_leaves_the_scores_of_the_others(copied_chain):
    configuration = small(seeds=[3, 4], optimizers={"wild": None})
    folder = copied_chain.results / "evaluate/tiny/prom_core_all/adamw"
    # How long scoring took stands in it: scored again, it would differ.
    before = (folder / "seed3/metrics.json").read_bytes()
    copied_chain.complete(configuration)
    assert (folder / "seed3/metrics.json").read_bytes() == before
    assert json.loads((folder / "seed4/metrics.json").read_text("utf-8"))["n"] == 60
    log = (copied_chain.folder / "logs/small/evaluate/tiny/prom_core_all/adamw.log").read_text("utf-8")
    assert "tiny/prom_core_all/adamw/seed3: scored already" in log
    assert (copied_chain.results / "merge/tiny/prom_core_all/adamw/seed3/model.safetensors").is_file()
    assert copied_chain.plan(configuration).counts == {}


def test_scores_of_the_old_settings_are_not_taken_for_the_new_if_scoring_fails(copied_chain):
    changed = small(optimizers={"adamw": {"learning_rate": 1.0e-2}})
    merged = copied_chain.results / f"merge/tiny/{TASK}/adamw"
    shutil.rmtree(merged)
    merged.write_text("in the way of the merged model's folder", "utf-8")
    failed = copied_chain.snakemake(changed)
    assert failed.code and "evaluate" in failed.output and "Traceback" not in failed.output
    merged.unlink()
    assert copied_chain.plan(changed).counts == {"evaluate": 1, "compare": 1}


def test_an_optimizer_added_runs_only_that_optimizer(chain):
    plan = chain.plan(small(optimizers={"slow": {"method": "sgd", "learning_rate": 0.1}}))
    assert plan.counts == {"finetune": 1, "evaluate": 1, "compare": 1}
    assert_only(plan.outputs, "/slow/")


def test_an_optimizer_removed_reruns_the_comparison(chain):
    plan = chain.plan(small(optimizers={"wild": None}))
    assert plan.counts == {"compare": 1}


def test_a_task_added_runs_only_that_task(chain):
    plan = chain.plan(small(tasks=[TASK, "prom_core_tata"]))
    assert plan.counts == {"download_data": 1, **WHOLE_TASK}
    assert_only(plan.outputs, "/prom_core_tata/")


def test_whether_merged_models_are_kept_changes_no_result(chain):
    assert chain.plan(small(keep_merged=False)).counts == {}


def test_another_format_of_merged_models_reruns_no_training(chain):
    assert chain.plan(small(merge={"dtype": "bf16"})).counts == {"evaluate": 2, "compare": 1}


def test_merged_models_not_kept_are_gone_and_not_missed(sites_chain, sites_configuration):
    place = "tiny/sites/adamw/seed3"
    merged = sites_chain.results / "merge" / place
    assert not merged.exists()
    # It was made, checked and compared before.
    found = json.loads((sites_chain.results / "evaluate" / place / "merge.json").read_text("utf-8"))
    assert found["storage"]["update_kept"] == 1 and found["storage"]["checked_tokens"] > 0
    assert found["items"] == 45 and found["labels_changed"] == 0
    assert sites_chain.plan(sites_configuration).counts == {}


def test_a_merged_model_not_kept_is_made_again_for_a_new_evaluation(sites_chain, sites_configuration):
    plan = sites_chain.plan({**sites_configuration, "evaluation": {"max_new_tokens": 9}})
    assert plan.counts == {"evaluate": 2, "evaluate_base": 2, "compare": 1}


def test_a_row_added_to_ones_own_data_reruns_that_task(sites_chain, sites_configuration, sites_task):
    # The folder is part of the task's settings, so the file is changed where it is, and put back with its time.
    source = Path(sites_task["path"]) / "train.csv"
    content, times = source.read_bytes(), source.stat()
    try:
        source.write_bytes(content + b"ACGT,0\n")
        plan = sites_chain.plan(sites_configuration)
    finally:
        source.write_bytes(content)
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert plan.counts == {
        "download_data": 1,
        "prepare": 1,
        "finetune": 1,
        "evaluate": 1,
        "evaluate_base": 1,
        "evaluate_baseline_dev": 1,
        "plan": 1,
        "evaluate_baseline": 1,
        "compare": 1,
    }
    assert_only(plan.outputs, "/sites/")


def test_a_file_with_another_date_and_the_same_content_reruns_nothing(tmp_path):
    """As after `cp` or a new mount. Snakemake's own default looks at the content of files below 1 MB alone."""
    folder = tmp_path / "task"
    folder.mkdir()
    for split, end in (("train", "A"), ("dev", "C"), ("test", "G")):
        rows = (f"{'ACGT' * 1500}{'AC' * number}{end},{number % 2}" for number in range(200))
        (folder / f"{split}.csv").write_text("\n".join(["sequence,label", *rows, ""]), "utf-8")
    assert (folder / "train.csv").stat().st_size > 1_000_000
    task = {"name": "long", "path": str(folder), "labels": ["no", "yes"], "instruction": "Is it?"}
    workplace, target = Workplace(tmp_path / "work"), ("--", "results/small/prepare/long/train.jsonl")
    configuration = small(tasks=[task])
    workplace.complete(configuration, *target)
    ahead = time.time() + 100
    os.utime(folder / "train.csv", (ahead, ahead))
    assert workplace.plan(configuration, *target).counts == {}
    with (folder / "train.csv").open("a", encoding="utf-8") as stream:
        stream.write("ACGT,0\n")
    os.utime(folder / "train.csv", (ahead, ahead))
    assert workplace.plan(configuration, *target).counts == {"download_data": 1, "prepare": 1}


OLD, NEW = "1" * 40, "2" * 40
FROM_HUB = small(
    models={"tiny": None, "base": {"source": "hub", "hub": {"repo": "lab/tiny"}}},
    data={"source": "hub", "simulated": None, "hub": {"repo": "lab/GUE"}},
    optimizers={"wild": None},
    budget={"steps": 2},
    evaluation={"baselines": ["majority"]},
)
DOWNLOADS = ("results/small/download/models/base", f"results/small/download/data/{TASK}/manifest.json")


@pytest.fixture(scope="module")
def hub(chain, tmp_path_factory):
    """A hub with a model and data, and the environment of processes that ask it."""
    downloaded = chain.results / "download"
    model = {file.name: file.read_bytes() for file in (downloaded / "models/tiny").iterdir() if file.name[0] != "."}
    data = {f"GUE/{TASK}/{file.name}": file.read_bytes() for file in (downloaded / "data" / TASK).glob("*.csv")}
    newer = {**data, f"GUE/{TASK}/train.csv": data[f"GUE/{TASK}/train.csv"] + b"ACGT,0\n"}
    with serve() as hub:
        hub.repositories |= {
            ("model", "lab/tiny"): Repository({OLD: model, NEW: {**model, "README.md": b"newer"}}, {"main": OLD}),
            ("dataset", "lab/GUE"): Repository({OLD: data, NEW: newer}, {"main": OLD}),
        }
        cache = str(tmp_path_factory.mktemp("hub_cache"))
        yield hub, {"HF_ENDPOINT": hub.endpoint, "HF_HOME": cache, "HF_HUB_DISABLE_TELEMETRY": "1"}


def ask(hub, patch):
    """Let the processes of a test ask a hub."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN"):
        patch.delenv(name, raising=False)
        patch.delenv(name.lower(), raising=False)
    for name, value in hub[1].items():
        patch.setenv(name, value)


@pytest.fixture(scope="module")
def hub_chain(hub, tmp_path_factory):
    """A finished run whose model and data came from a hub, asked for as main; both mains have moved since."""
    workplace = Workplace(tmp_path_factory.mktemp("hub_chain"))
    with pytest.MonkeyPatch.context() as patch:
        ask(hub, patch)
        workplace.complete(FROM_HUB, "--", *DOWNLOADS)
    # Nothing else asks it.
    workplace.complete(FROM_HUB)
    for repository in hub[0].repositories.values():
        repository.references |= {"main": NEW, "next": NEW}
    return workplace


def commits_of(workplace):
    manifests = [workplace.folder / place for place in (f"{DOWNLOADS[0]}/manifest.json", DOWNLOADS[1])]
    return [json.loads(path.read_text("utf-8"))["revision"] for path in manifests]


def test_the_configuration_among_the_results_names_the_commits_and_changes_nothing(hub_chain):
    written = hub_chain.results / "compare/configuration.yaml"
    settings = yaml.safe_load(written.read_text("utf-8"))
    assert settings["models"]["base"]["hub"] == {"repo": "lab/tiny", "revision": OLD}
    assert settings["data"]["hub"] == {"repo": "lab/GUE", "revision": OLD}
    assert hub_chain.plan(written).counts == {}
    assert hub_chain.plan(FROM_HUB).counts == {}


def test_another_revision_reruns_what_comes_from_the_hub(hub_chain):
    models = {**FROM_HUB["models"], "base": {"source": "hub", "hub": {"repo": "lab/tiny", "revision": "next"}}}
    counts = hub_chain.plan({**FROM_HUB, "models": models}).counts
    assert counts["download_model"] == counts["finetune"] == counts["compare"] == 1
    assert "download_data" not in counts
    counts = hub_chain.plan({**FROM_HUB, "data": {"source": "hub", "hub": {"repo": "lab/GUE", "revision": NEW}}}).counts
    assert counts["download_data"] == counts["finetune"] == counts["compare"] == 1
    assert "download_model" not in counts


@pytest.mark.slow
def test_the_configuration_among_the_results_fetches_the_same_commits_again(hub_chain, hub, monkeypatch, tmp_path):
    ask(hub, monkeypatch)
    written = hub_chain.results / "compare/configuration.yaml"
    elsewhere = Workplace(tmp_path / "elsewhere")
    elsewhere.complete(written, *DOWNLOADS)
    assert commits_of(elsewhere) == [OLD, OLD]
    assert elsewhere.plan(written, *DOWNLOADS).counts == {}
    # In the same place, forced, by the commit; under the name it was asked for first, which reruns nothing later.
    copied = Workplace(tmp_path / "copy")
    shutil.copytree(hub_chain.folder, copied.folder, dirs_exist_ok=True)
    copied.complete(written, "--forcerun", "download_model", "download_data", "--", *DOWNLOADS)
    assert commits_of(copied) == [OLD, OLD]
    assert copied.plan(written, *DOWNLOADS).counts == {}
    assert copied.plan(FROM_HUB, *DOWNLOADS).counts == {}
