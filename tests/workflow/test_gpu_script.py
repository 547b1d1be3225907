"""benchmarks/gpu.sh without a GPU: its command lines plan what they say, and what fails is told at the end."""

import os
import shutil
import subprocess

import pytest

from dnatune.files import read_json
from workflow_runs import PYTHON, ROOT


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

    def run(snakemake, python="true"):
        executable(checkout / ".venv/bin/snakemake", snakemake)
        executable(checkout / ".venv/bin/python", 'echo "python $*"', python)
        command = [checkout / "benchmarks/gpu.sh", tmp_path / "its data", tmp_path / "its tokenizer", tmp_path / "out"]
        environment = {name: value for name, value in os.environ.items() if name != "DNATUNE_SITE"}
        environment["PATH"] = f"{tmp_path}/bin:{os.environ['PATH']}"
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return done, tmp_path / "out"

    return run


def test_both_comparisons_and_the_tests_are_started(start):
    plan = f'{PYTHON} -m snakemake --dry-run "$@"'
    # What follows from the command line's configuration is written when jobs start; the benchmark itself is left out.
    done, out = start(f'{plan} || exit 1; {PYTHON} -m snakemake --until download_data "$@"; true')
    assert done.returncode == 0, done.stdout + done.stderr
    assert "python -m pytest -m gpu tests/gpu" in (out / "tests.log").read_text("utf-8")
    for precision in ("bf16", "fp16"):
        log = (out / f"{precision}.log").read_text("utf-8")
        assert "rule benchmark:" in log
        settings = read_json(out / precision / "results/benchmark/experiment.json")
        assert settings["training"]["precision"] == precision
        assert settings["training"]["global_batch_size"] == settings["benchmark"]["examples"] == 512
        assert settings["benchmark"]["hidden_size"] == 2048 and settings["benchmark"]["layers"] == 20


def test_what_fails_is_named_and_the_rest_is_done(start):
    done, out = start('case "$*" in *bf16*) exit 1;; esac', 'case "$*" in *pytest*) exit 1;; esac')
    assert done.returncode == 1
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failed == [
        f"failed: the comparison in bf16, see {out}/bf16.log",
        f"failed: tests, see {out}/tests.log",
    ]


def test_without_a_gpu_that_torch_can_use_nothing_is_measured(start):
    done, out = start("true", 'case "$*" in *is_available*) exit 1;; esac')
    assert done.returncode == 1
    assert "torch cannot use this GPU" in done.stderr
    assert not (out / "tests.log").exists()
