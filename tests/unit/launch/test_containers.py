"""Jobs in a container: what keeps them from running is one message before anything is submitted."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.cli import parse_args

import apptainer_programs
import installed_wheel
from dnatune.errors import ConfigurationError
from dnatune.launch import containers
from samples import ROOT

LIBRARY = ROOT / "workflow"
BASH = shutil.which("bash")


@pytest.fixture
def image(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", apptainer_programs.first_on_path(apptainer_programs.write(tmp_path / "bin")))
    monkeypatch.delenv(containers.OBSTACLE, raising=False)
    path = tmp_path / "dnatune.sif"
    path.touch()
    return str(path)


def wanted(image, **changes):
    usual = {"site": Path("site.yaml"), "arguments": "", "nodes": 1, "gpus": 0, "with_conda": False}
    return containers.Wanted(image=image, **{**usual, **changes})


def refusal(call, *arguments):
    with pytest.raises(ConfigurationError) as caught:
        call(*arguments)
    assert caught.value.where and caught.value.fix
    return str(caught.value)


def test_a_machine_that_has_all_runs_the_image(image):
    assert wanted(image).require({}) == image
    assert wanted("docker://registry/dnatune:1").require({}) == "docker://registry/dnatune:1"
    for arguments, environment in (("--nv", {}), ("--bind /a --rocm", {}), ("", {"APPTAINER_NV": "1"})):
        assert wanted(image, gpus=4, arguments=arguments).require(environment) == image


REFUSED = {
    "no image named": ({"image": None}, ["names no image", "key 'container'", "docs/container.md"]),
    "no image there": ({"image": "/no/such.sif"}, ["no image /no/such.sif", "key 'container'", "make sif"]),
    "conda as well": ({"with_conda": True}, ["not in both", "--sdm", "leave out conda"]),
    "several nodes": ({"nodes": 4}, ["4 nodes", "srun", "finetune:nodes"]),
    "GPUs unseen": ({"gpus": 2, "arguments": "--bind /data"}, ["--nv", "--apptainer-args='--bind /data --nv'"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_in_a_container_is_refused(image, case):
    changes, phrases = REFUSED[case]
    told = refusal(wanted(**{"image": image, **changes}).require, {})
    assert all(phrase in told for phrase in phrases), told


def test_a_machine_without_apptainer_is_named(image, monkeypatch):
    monkeypatch.setenv("PATH", "/no/such/folder")
    assert "neither apptainer nor singularity is on PATH" in refusal(wanted(image).require, {})


def test_in_a_job_the_rule_itself_tells_what_is_missing(image, tmp_path):
    with pytest.raises(ConfigurationError):
        wanted("/no/such.sif").image_of_jobs(True)
    assert containers.OBSTACLE not in os.environ
    assert wanted("/no/such.sif").image_of_jobs(False) is None
    log = tmp_path / "stage.log"
    command = [sys.executable, "-m", "dnatune", "--log", log, "prepare", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ConfigurationError: there is no image /no/such.sif\n  where: site.yaml: key 'container'" in log.read_text()
    del os.environ[containers.OBSTACLE]
    assert wanted(image).image_of_jobs(False) == image


@pytest.fixture
def python(tmp_path):
    """A folder with a `python` that has the packages of this one and no dnatune, as the program of a container."""
    return installed_wheel.environment_without_dnatune(tmp_path / "env").parent


def start(python, paths=(), environment=""):
    """Return the command that asks that Python, which has no other variables than these."""
    inside = f"export PATH={shlex.quote(str(python))}:/usr/bin:/bin {environment}; {containers.question(paths)}"
    return f"env --ignore-environment {BASH} -c {shlex.quote(inside)}"


def test_a_container_that_sees_the_checkout_takes_its_library(python, tmp_path):
    command = start(python, [str(tmp_path)], f"PYTHONPATH={LIBRARY}")
    wanted("image.sif").check_start(command, LIBRARY, None)


def test_a_path_that_it_does_not_see_is_named_with_the_option(python):
    command = start(python, ["/no/such folder/file"])
    told = refusal(wanted("image.sif", arguments="--nv").check_start, command, LIBRARY, None)
    assert "does not see /no/such folder/file" in told
    # The option goes through the user's shell, and then through Snakemake's.
    (line,) = [line for line in told.splitlines() if "to do:" in line]
    _, options = parse_args(shlex.split(line.split("add ")[1]))
    assert shlex.split(options.apptainer_args) == ["--nv", "--bind", "/no/such folder"]


def test_a_library_that_is_not_that_of_the_rules_is_refused(python, tmp_path):
    told = refusal(wanted("image.sif").check_start, start(python), LIBRARY, None)
    assert "takes dnatune from nowhere" in told and "--cleanenv" in told
    other = tmp_path / "other"
    (other / "dnatune").mkdir(parents=True)
    (other / "dnatune/__init__.py").touch()
    told = refusal(wanted("image.sif").check_start, start(python, (), f"PYTHONPATH={other}"), LIBRARY, None)
    assert f"the rules are those of {LIBRARY}" in told and f"takes dnatune from {other}" in told


def test_an_image_of_another_version_is_refused(python, tmp_path):
    assert "the image holds no dnatune" in refusal(wanted("image.sif").check_start, start(python), None, "0.2.0")
    packages = tmp_path / "packages"
    for name in ("dnatune", "dnatune-0.1.0.dist-info"):
        (packages / name).mkdir(parents=True)
    (packages / "dnatune/__init__.py").touch()
    (packages / "dnatune-0.1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: dnatune\nVersion: 0.1.0\n")
    command = start(python, (), f"PYTHONPATH={packages}")
    wanted("image.sif").check_start(command, None, "0.1.0")
    told = refusal(wanted("image.sif").check_start, command, None, "0.2.0")
    assert "the image holds dnatune 0.1.0, and the rules are of version 0.2.0" in told and "image.sif" in told


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo FATAL: no user namespaces >&2; exit 255", "FATAL: no user namespaces"),
        ("exit 3", "no answer, exit status 3"),
        ("echo hello", "no answer"),
        ("echo 7", "no answer"),
    ],
)
def test_a_container_that_does_not_start_says_why(image, command, told):
    message = refusal(wanted(image).check_start, command, LIBRARY, None)
    assert told in message and image in message
    assert "by hand: apptainer exec --home" in message


def test_a_command_to_paste_starts_the_container(image):
    """Bash takes it as the words that Apptainer is to get."""
    line = wanted(image, arguments="--nv --bind '/a b'").interpreter(Path("/shared/it is"))
    done = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True, cwd="/")
    words = ["apptainer", "exec", "--home", "/", "--env", "PYTHONPATH=/shared/it is", "--nv", "--bind", "/a b", image]
    assert done.stdout.splitlines() == [*words, "python"]


def test_paths_of_a_configuration_are_those_that_name_something_here(tmp_path):
    (tmp_path / "here").mkdir()
    here = str(tmp_path / "here")
    settings = {"a": {"path": here, "other": "/no/such"}, "b": [{"c": (str(tmp_path), 3)}, "word " * 9999], "n": None}
    assert sorted(containers.paths_named(settings)) == [str(tmp_path), here]
    assert containers.paths_of_environment({"HF_HOME": here, "TMPDIR": "/no/such", "HOME": here}) == [here]
