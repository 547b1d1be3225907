"""Bad input ends with one clear message and leaves nothing half-written."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

import forked_python
from one_message import assert_one_message, visible
from workflow_runs import Finished, Workplace, files_below, run, small

TASK = {"name": "mine", "labels": ["no", "yes"], "instruction": "Is it one?"}
GOOD = b"sequence,label\nACGTN,0\nacgta,1\nTTTTT,1\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"
SPLITS = ("train", "dev", "test")


def write_splits(folder: Path, **spoilt: bytes | None) -> Path:
    """Write three good splits, some replaced by other bytes, or left out where None."""
    folder.mkdir(parents=True)
    for split in SPLITS:
        content = spoilt.get(split, GOOD)
        if content is not None:
            (folder / f"{split}.csv").write_bytes(content)
    return folder


@pytest.mark.parametrize(("section", "key"), [("contamination", "manifest"), ("benchmark", "tokenizer")])
def test_a_missing_file_is_told_with_its_key_before_anything_runs(tmp_path, section, key):
    done = Workplace(tmp_path).snakemake(small(**{section: {key: "no/$(such) 'one'"}}), "--dry-run")
    assert done.code != 0
    assert_one_message(
        done.output, "ConfigurationError", "no/$(such) 'one'", f"config key '{section}.{key}'", "correct"
    )


# Data

BAD_SPLITS = {
    "missing column": (b"sequence\nACGT\n", ["missing column label", "header", "sequence,label"]),
    "extra column": (b"sequence,label,score\nACGT,0,1\n", ["extra column 'score'", "header", "sequence,label"]),
    "other order": (b"label,sequence\n0,ACGT\n", ["label,sequence", "header", "sequence,label"]),
    "empty file": (b"", ["empty", "at least one row"]),
    "header alone": (b"sequence,label\n", ["no rows", "at least one row"]),
    "base outside ACGTN": (b"sequence,label\nACGT,0\nACGU,1\n", ["'U'", "line 3", "A, C, G, T and N"]),
    "empty sequence": (b"sequence,label\n,0\n", ["sequence is empty", "line 2"]),
    "unknown label": (b"sequence,label\nACGT,0\nACGT,1\nACGT,2\n", ["unknown label '2'", "line 4", "from 0 to 1"]),
    "label in words": (b"sequence,label\nACGT,yes\n", ["unknown label 'yes'", "line 2", "from 0 to 1"]),
    "label with a fraction": (b"sequence,label\nACGT,1.0\n", ["unknown label '1.0'", "line 2", "from 0 to 1"]),
    "field too many": (b"sequence,label\nACGT,0\nACGT,1,1\n", ["3 fields", "line 3", "sequence,label"]),
    "field too few": (b"sequence,label\nACGT\n", ["1 field", "line 2", "sequence,label"]),
    "not UTF-8": (b"sequence,label\nACGT,0\nAC\xffGT,1\n", ["not UTF-8", "0xff", "line 3", "save the file as UTF-8"]),
    "UTF-16": (GOOD.decode().encode("utf-16"), ["not UTF-8", "header", "save the file as UTF-8"]),
    "git-lfs pointer": (POINTER, ["git-lfs pointer", "git lfs pull"]),
    "quote that never closes": (b'sequence,label\n"ACGT,0\n' + b"ACGT,1\n" * 20_000, ["never closed", "line 2"]),
    "label with a leading zero": (b"sequence,label\nACGT,01\n", ["unknown label '01'", "line 2", "leading zeros"]),
    "NUL": (b"sequence,label\nACGT,0\nA\x00C,1\n", ["not UTF-8", "0x00", "line 3", "save the file as UTF-8"]),
    "missing split": (None, ["not found", "train.csv, dev.csv and test.csv"]),
}


@pytest.mark.parametrize("case", BAD_SPLITS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_prepare_refuses_a_bad_split(case, split, tmp_path):
    content, phrases = BAD_SPLITS[case]
    source = write_splits(tmp_path / "source", **{split: content})
    done = prepare(source, tmp_path / "prepared")
    assert done.code == 3
    assert_one_message(done.output, "dnatune: DataError", str(source / f"{split}.csv"), *phrases)
    assert files_below(tmp_path / "prepared") == []


def test_prepare_leaves_earlier_records_as_they_were(tmp_path):
    assert prepare(write_splits(tmp_path / "good"), tmp_path / "prepared").code == 0
    before = {file: (tmp_path / "prepared" / file).read_bytes() for file in files_below(tmp_path / "prepared")}
    assert before.keys() == {"audit.json", "manifest.json", *(f"{split}.jsonl" for split in SPLITS)}
    source = write_splits(tmp_path / "bad", train=b"sequence,label\nCCCC,1\n", test=b"")
    assert prepare(source, tmp_path / "prepared").code == 3
    after = {file: (tmp_path / "prepared" / file).read_bytes() for file in files_below(tmp_path / "prepared")}
    assert after == before


def prepare(source: Path, folder: Path) -> Finished:
    experiment = source.parent / "experiment.json"
    experiment.write_text(json.dumps(small(tasks=[{**TASK, "path": str(source)}])), "utf-8")
    command = forked_python.stage(
        "prepare", "--experiment", experiment, "--task", TASK["name"], "--source", source, "--folder", folder
    )
    return run(command, source.parent)


@pytest.mark.parametrize(
    ("spoilt", "phrases"),
    [
        ({"train": BAD_SPLITS["base outside ACGTN"][0]}, ["'U'", "train.csv, line 3", "A, C, G, T and N"]),
        ({"test": POINTER}, ["git-lfs pointer", "test.csv", "git lfs pull"]),
    ],
    ids=["base", "pointer"],
)
def test_the_workflow_names_the_log_of_a_bad_split(spoilt, phrases, tmp_path):
    workplace = Workplace(tmp_path / "run")
    source = write_splits(tmp_path / "source", **spoilt)
    configuration = small(tasks=[{**TASK, "path": str(source)}])
    done = workplace.snakemake(configuration, "--retries=2", "results/small/prepare/mine/train.jsonl")
    assert done.code != 0
    assert "Traceback" not in done.output
    # It would only fail again: no retry is made of what a retry is granted for.
    assert done.output.count("Error in rule prepare") == 1
    # The terminal may be in another folder than --directory.
    assert re.search(rf"^ +log: {tmp_path}/run/logs/small/prepare/mine\.log\b", done.output, re.MULTILINE)
    assert f"    command: cd {tmp_path}/run && " in done.output
    # The file is the user's own, not its copy in the results.
    named = str(source / f"{next(iter(spoilt))}.csv")
    assert_one_message(workplace.log("small/prepare/mine"), "dnatune: DataError", named, *phrases)
    assert_message_comes_last(done.output, "rule prepare: DataError", named, *phrases)
    assert visible(workplace.results / "prepare") == []


def test_columns_of_other_names_are_told_before_anything_runs(tmp_path):
    workplace = Workplace(tmp_path / "run")
    source = write_splits(tmp_path / "source", dev=BAD_SPLITS["missing column"][0])
    configuration = small(tasks=[{**TASK, "path": str(source)}])
    done = workplace.snakemake(configuration, "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", str(source / "dev.csv"), "label")
    assert not workplace.results.exists()


def assert_message_comes_last(output: str, *phrases: str) -> None:
    """Check what the terminal shows from the failure on: a short block, and the remedy as the last line."""
    screen = output[output.index("Error in rule") :].rstrip().splitlines()
    assert len(screen) <= 15, output
    message = "\n".join(screen[-3:])
    assert all(phrase in message for phrase in phrases), output
    assert screen[-1].startswith("  to do: ")


def test_a_missing_split_stops_before_any_job(tmp_path):
    workplace = Workplace(tmp_path / "run")
    source = write_splits(tmp_path / "source", dev=None)
    done = workplace.snakemake(small(tasks=[{**TASK, "path": str(source)}]), "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", "dev.csv not found", str(source), f"{source}/train.csv")
    assert "train.csv not found" not in done.output
    assert visible(workplace.results) == []


def test_an_example_that_leaves_no_room_for_its_label(copied_chain):
    # Every rank meets the fault; the message must come once all the same.
    copied_chain.site.write_text(yaml.safe_dump({"ranks_per_node": 2, "cpus_per_rank": 1}), "utf-8")
    place = "finetune/tiny/prom_core_all/adamw/seed3"
    target = f"results/small/{place}/training.jsonl"
    done = copied_chain.snakemake(small(training={"max_seq_length": 40}), target)
    assert done.code != 0
    assert f"logs/small/{place}.log" in done.output
    assert_one_message(
        copied_chain.log(f"small/{place}"),
        "dnatune: DataError",
        "does not fit into max_seq_length 40",
        "results/small/prepare/prom_core_all/train.jsonl, line 1",
        "'training.max_seq_length'",
    )
    # Nothing is left but the note that the run was begun and failed, which run.json will have when it completes, and
    # what is kept of the run with other settings, if somebody goes back to them.
    left = [Path(path) for path in visible(copied_chain.results / place)]
    assert {path.name for path in left if path.parts[0] != ".kept"} <= {"segments.json"}
    # What does not depend on it stays.
    assert visible(copied_chain.results / "finetune/tiny/prom_core_all/wild/seed3") != []


# Models


def test_model_folders_that_cannot_be_used(chain, tmp_path):
    good = chain.results / "download" / "models" / "tiny"
    for name in TOLD:
        shutil.copytree(good, tmp_path / name)
    for file in (tmp_path / "speechless").glob("tokenizer*"):
        file.unlink()
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")

    weights = load_file(good / "model.safetensors")
    headless = {name: value for name, value in weights.items() if name != "lm_head.weight"}
    save_file(headless, tmp_path / "headless" / "model.safetensors")

    workplace = Workplace(tmp_path / "run")
    models = {name: {"source": "directory", "directory": {"path": str(tmp_path / name)}} for name in TOLD}
    targets = [f"results/small/download/models/{name}" for name in TOLD]
    done = workplace.snakemake(small(models={"tiny": None, **models}), "--keep-going", *targets)
    assert done.code != 0
    assert "Traceback" not in done.output
    for name, phrases in TOLD.items():
        assert f"logs/small/download/models/{name}.log" in done.output
        message = workplace.log(f"small/download/models/{name}")
        assert_one_message(message, "dnatune: ModelError", str(tmp_path / name), *phrases)
    assert visible(workplace.results) == ["experiment.json"]


TOLD = {
    "speechless": ["no tokenizer", "tokenizer.json"],
    "headless": ["do not fit the model's architecture", "missing: lm_head.weight", "get a whole copy"],
    "pickled": ["no safetensors weights", "never loads a pickle", "save_pretrained"],
}

# Configuration: tests/unit/settings/test_experiment.py has the other mistakes

BAD_CONFIGURATIONS = {
    "misspelled key": (small(trainin={}), ["unknown key 'trainin'", "did you mean 'training'?"]),
    "misspelled inner key": (
        small(training={"global_batchsize": 4}),
        ["'training.global_batchsize'", "did you mean 'global_batch_size'?"],
    ),
    "wrong type": (small(training={"global_batch_size": "many"}), ["'training.global_batch_size'", "type integer"]),
    "percent for a share": (small(training={"warmup_ratio": 3}), ["'training.warmup_ratio'", "at most 1"]),
    "budget given twice": (small(budget={"epochs": 1}), ["'budget'", "exactly one of epochs, steps"]),
    "unknown optimizer": (small(optimizers={"adanw": {"learning_rate": 0.1}}), ["'adanw'", "did you mean 'adamw'?"]),
    "missing learning rate": (
        small(optimizers={"adamw": {"learning_rate": None}}),
        ["'optimizers.adamw.learning_rate'", "missing"],
    ),
    "negative learning rate": (
        small(optimizers={"adamw": {"learning_rate": -0.1}}),
        ["'optimizers.adamw.learning_rate'", "-0.1", "> 0"],
    ),
    "learning rate that YAML takes for text": (
        small(optimizers={"adamw": {"learning_rate": "1e-4"}}),
        ["'optimizers.adamw.learning_rate'", "1.0e-4"],
    ),
    "misspelled task": (small(tasks=["prom_core_al"]), ["'prom_core_al'", "did you mean 'prom_core_all'?"]),
    "unknown task": (small(tasks=["birdsong"]), ["'birdsong'", "labels, instruction", "prom_core_all"]),
    "three classes of simulated data": (
        small(tasks=["splice_reconstructed"]),
        ["2 classes", "'splice_reconstructed' has 3", "hub or a directory"],
    ),
}


@pytest.mark.parametrize("case", BAD_CONFIGURATIONS)
def test_a_bad_configuration_stops_before_any_job(case, tmp_path):
    configuration, phrases = BAD_CONFIGURATIONS[case]
    done = Workplace(tmp_path).snakemake(configuration, "--dry-run")
    assert done.code != 0
    assert "Job stats" not in done.output
    assert_one_message(done.output, "ConfigurationError", *phrases)
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "logs").exists()


def test_a_real_run_of_a_bad_configuration_starts_no_job_either(tmp_path):
    done = Workplace(tmp_path).snakemake(small(training={"warmup_ratio": 3}))
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", "'training.warmup_ratio'")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("site", "phrases"),
    [
        ("ranks_per_node: two\n", ["site.yaml", "ranks_per_node", "'two'"]),
        ("runtime: 12\n", ["site.yaml", "runtime", "12"]),
        ("runtim: 12h\n", ["site.yaml", "'runtim'", "did you mean 'runtime'?"]),
        ("ranks_per_node: [1\n", ["site.yaml", "not valid YAML"]),
    ],
    ids=["type", "unit", "key", "YAML"],
)
def test_a_bad_site_file_stops_before_any_job(site, phrases, tmp_path):
    workplace = Workplace(tmp_path)
    workplace.site.write_text(site, "utf-8")
    done = workplace.snakemake(small(), "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", *phrases)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("nodes", ["0", "two"])
def test_nodes_of_the_command_line_that_cannot_be_meant_stop_before_any_job(nodes, tmp_path):
    workplace = Workplace(tmp_path)
    workplace.site.write_text("gpus_per_node: 8\ncpus_per_rank: 1\nslurm: {partition: gpu}\n", "utf-8")
    done = workplace.snakemake(small(), "--set-resources", f"finetune:nodes={nodes}")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", f"{nodes} nodes", "--set-resources")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("keys", "told"),
    [("account: 'me; rm -rf /'", "me; rm -rf /"), ("scratch: /nowhere/at/all", "/nowhere/at/all")],
    ids=["an account with shell characters", "no such scratch"],
)
def test_a_site_that_cannot_be_meant_stops_before_any_job(keys, told, tmp_path):
    workplace = Workplace(tmp_path)
    workplace.site.write_text(f"gpus_per_node: 8\ncpus_per_rank: 1\nslurm: {{{keys}}}\n", "utf-8")
    done = workplace.snakemake(small())
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", told, "slurm.")
    assert not (tmp_path / "results").exists()


def test_a_resource_that_would_contradict_others_stops_before_any_job(tmp_path):
    done = Workplace(tmp_path).snakemake(small(), "--set-resources", "finetune:ranks=4")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", "ranks of rule finetune", "ranks_per_node")
    assert not (tmp_path / "results").exists()


def test_an_unknown_site_is_named_with_those_there_are(tmp_path):
    workplace = Workplace(tmp_path)
    workplace.site = Path("nowhere")
    done = workplace.snakemake(small(), "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", "'nowhere'", "DNATUNE_SITE", "generic")
