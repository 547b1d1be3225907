"""`python -m dnatune`: what it lists, and what it runs."""

import subprocess
import sys

import pytest

from dnatune import cli
from samples import ROOT


def run(*words):
    command = [sys.executable, "-m", "dnatune", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_there_is_a_module_for_every_stage():
    assert sorted(cli.STAGES) == sorted(
        file.stem for file in (ROOT / "workflow/dnatune/commands").glob("*.py") if file.stem != "__init__"
    )


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), ([], 2), (["nothing"], 2)])
def test_it_lists_the_stages(words, status):
    done = run(*words)
    assert done.returncode == status
    assert all(f"  {stage} " in done.stdout + done.stderr for stage in cli.STAGES)
    assert ("unknown stage 'nothing'" in done.stderr) == (words == ["nothing"])


def test_a_stage_is_named_as_it_is_called():
    done = run("merge", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m dnatune merge ")


def test_an_error_has_its_exit_status():
    done = run("prepare", "--settings", "{", "--audit", "{}", "--source", "x", "--folder", "y")
    assert done.returncode == 2
    assert "dnatune: ConfigurationError: not valid JSON" in done.stderr
