"""benchmarks/gpu.sh without a GPU: its command lines plan what they say, and what fails is told at the end."""

import os
import shutil
import subprocess

import pytest

import forked_python
from dnatune.files import read_json
from workflow_runs import ROOT


def executable(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), "utf-8")
    path.chmod(0o755)


@pytest.fixture
def start(tmp_path):
    """A function that runs the script in a checkout of its own, Snakemake and Python by shell lines."""
    checkout = tmp_path / "a checkout"
    (checkout / "benchmarks").mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks/gpu.sh", checkout / "benchmarks/gpu.sh")
    for name in ("Snakefile", "workflow", "config", "envs", "profiles", "pyproject.toml"):
        (checkout / name).symlink_to(ROOT / name)
    executable(tmp_path / "bin/nvidia-smi", "echo some GPU")
    data = tmp_path / "its data/GUE/prom_core_all"
    data.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (data / f"{split}.csv").write_text("sequence,label\nACGT,0\nACGA,1\n", "utf-8")
    (tmp_path / "its tokenizer").mkdir()

    def run(snakemake, *options, python="true", interpreter=checkout / ".venv/bin/python"):
        executable(
            interpreter,
            'if [ "$1 $2" = "-m snakemake" ]; then',
            f"shift 2; {snakemake}",
            f'else echo "python $*"; {python}; fi',
        )
        folders = (tmp_path / "its data", tmp_path / "its tokenizer", tmp_path / "out")
        command = [checkout / "benchmarks/gpu.sh", *folders, *options]
        environment = {name: value for name, value in os.environ.items() if name not in ("DNATUNE_SITE", "PYTHON")}
        environment["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
        if interpreter.parent.name != "bin":
            environment["PYTHON"] = str(interpreter)
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return done, tmp_path / "out"

    return run


WITHOUT_TRL = 'case "$*" in *"import SFTTrainer"*) exit 1;; esac'


def plan():
    """Return the line that plans everything, and starts the download, which writes down what the settings are."""
    snakemake = f"{forked_python.interpreter()} -m snakemake"
    return f'{snakemake} --dry-run "$@" && {{ {snakemake} --until download_data "$@"; true; }}'


def planned(out, precision):
    """Return the settings of the comparison in a precision, which Snakemake has planned."""
    assert "rule benchmark:" in (out / f"{precision}.log").read_text("utf-8")
    settings = read_json(out / precision / "results/benchmark/experiment.json")
    assert settings["training"]["precision"] == precision
    assert settings["training"]["global_batch_size"] == settings["benchmark"]["examples"]
    assert settings["benchmark"]["scoring_examples"] == 64 and settings["benchmark"]["repeats"] == 3
    return settings["benchmark"]


def test_both_comparisons_and_the_tests_are_started(start):
    done, out = start(plan())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "python -m pytest -m gpu tests/gpu" in (out / "tests.log").read_text("utf-8")
    for precision in ("bf16", "fp16"):
        settings = planned(out, precision)
        assert (settings["hidden_size"], settings["layers"], settings["examples"]) == (2048, 20, 128)
        assert settings["peers"] == ["trl"] and "vocabulary" not in settings


def test_size_precision_and_examples_are_options_and_any_interpreter_serves(start, tmp_path):
    options = ("--size", "8b", "--precision", "bf16", "--examples", "64", "--no-tests")
    done, out = start(plan(), *options, python=WITHOUT_TRL, interpreter=tmp_path / "own/python3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "without TRL" in done.stderr
    assert not (out / "tests.log").exists() and not (out / "fp16.log").exists()
    settings = planned(out, "bf16")
    assert (settings["hidden_size"], settings["layers"], settings["key_value_heads"]) == (4096, 32, 8)
    assert (settings["vocabulary"], settings["examples"], settings["peers"]) == (128256, 64, [])


@pytest.mark.parametrize("options", [["--size", "70b"], ["--precision", "fp32"], ["--examples", "0"], ["--fast"]])
def test_an_option_that_does_not_exist_is_refused(start, options):
    done, _ = start("true", *options)
    assert done.returncode == 2 and "benchmarks/gpu.sh GUE_FOLDER" in done.stderr


def test_what_fails_is_named_and_the_rest_is_done(start):
    done, out = start('case "$*" in *bf16*) exit 1;; esac', python='case "$*" in *pytest*) exit 1;; esac')
    assert done.returncode == 1
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failed == [
        f"failed: the comparison in bf16, see {out}/bf16.log",
        f"failed: tests, see {out}/tests.log",
    ]


def test_without_a_gpu_that_torch_can_use_nothing_is_measured(start):
    done, out = start("true", python='case "$*" in *is_available*) exit 1;; esac')
    assert done.returncode == 1
    assert "torch cannot use this GPU" in done.stderr
    assert not (out / "tests.log").exists()
