"""`python -m dnatune`: what it lists, and what it runs."""

import subprocess
import sys

import pytest

from dnatune import cli, errors, outcomes
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


def test_stages_run_one_after_another_in_one_process(tmp_path):
    settings = ["--experiment", str(ROOT / "config/demo.yaml"), "--task", "prom_core_all"]
    one = ["download", "data", *settings, "--folder", str(tmp_path / "data")]
    two = ["prepare", *settings, "--source", str(tmp_path / "data"), "--folder", str(tmp_path / "prepared")]
    log = tmp_path / "log"
    assert run("--log", str(log), *one, "--then", *two).returncode == 0, log.read_text()
    assert (tmp_path / "prepared/test.jsonl").is_file()
    # The second is not begun if the first fails, and none is if one is unknown.
    done = run("prepare", "--experiment", "none.yaml", *two[3:], "--then", "doctor")
    assert done.returncode == 2 and "none.yaml" in done.stderr and done.stdout == ""
    assert run(*one[:-1], str(tmp_path / "no"), "--then", "nothing").returncode == 2
    assert not (tmp_path / "no").exists()


def test_an_error_has_its_exit_status():
    done = run("prepare", "--experiment", "none.yaml", "--task", "t", "--source", "x", "--folder", "y")
    assert done.returncode == 2
    assert "dnatune: ConfigurationError: " in done.stderr and "where: none.yaml" in done.stderr


def test_with_a_log_all_goes_there_and_a_failure_to_a_file_beside_it(tmp_path):
    log, outcome = tmp_path / "logs/stage.log", tmp_path / "logs/stage.outcome.json"
    done = run(
        "--log", str(log), "prepare", "--experiment", "none.yaml", "--task", "t", "--source", "x", "--folder", "y"
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert "where: none.yaml" in log.read_text()
    failure, _ = outcomes.read(outcome)
    assert (type(failure), failure.where) == (errors.ConfigurationError, "none.yaml")
    # What an earlier attempt has left does not outlive a new one.
    assert run("--log", str(log), "prepare", "--help").returncode == 0
    assert not outcome.exists()


def test_an_unexpected_error_keeps_its_traceback_and_has_an_outcome(tmp_path):
    def fails():
        return {}["label"]

    with pytest.raises(KeyError):
        errors.run_script(fails, tmp_path / "stage.outcome.json")
    failure, _ = outcomes.read(tmp_path / "stage.outcome.json")
    assert type(failure) is errors.RunError
    assert "KeyError" in failure.what and "label" in failure.what and "log" in failure.fix
