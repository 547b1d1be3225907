"""dnatune as a module of another Snakefile: from git with the installed package, and from a path."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import installed_wheel
from one_message import assert_one_message
from workflow_runs import PYTHON, ROOT, Finished, Plan, read_plan, small

_CONFIGFILE = 'configfile: "config/config.yaml"\n'
_ALL = """
rule all:
    default_target: True
    input:
        rules.first_all.input,
        rules.second_all.input,
"""


def module(name: str, source: str, *more: str) -> str:
    """Return a module statement and the one that takes its rules."""
    return (
        "\n    ".join([f"\nmodule {name}:", f'snakefile: "{source}"', *more])
        + f"\nuse rule * from {name} as {name}_*\n"
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A git repository of the workflow with a branch `main`, a tag `v1`, and a branch `later` of another version."""
    folder = installed_wheel.copy_sources(tmp_path_factory.mktemp("repository") / "dnatune")
    git = ["git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    commit = [["add", "."], ["commit", "--quiet", "--message", "Add the workflow"]]
    for command in (["init", "--quiet", "--initial-branch=main"], *commit, ["tag", "v1"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run([*git, "checkout", "--quiet", "-b", "later"], check=True)
    project = folder / "pyproject.toml"
    project.write_text(project.read_text("utf-8").replace('\nversion = "', '\nversion = "99.'), "utf-8")
    for command in commit:
        subprocess.run([*git, *command], check=True)
    return folder


@pytest.fixture(scope="module")
def without(tmp_path_factory) -> Path:
    """The interpreter of an environment without dnatune."""
    return installed_wheel.environment_without_dnatune(tmp_path_factory.mktemp("without") / "env")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("installed")
    python = installed_wheel.environment_without_dnatune(folder / "env")
    installed_wheel.install_wheel(python, folder / "wheel")
    return python


def snakemake(python: Path | str, folder: Path, snakefile: str, *arguments: str) -> Finished:
    """Run Snakemake in a folder that holds a Snakefile and the configurations `first` and `second`, no more."""
    (folder / "config").mkdir(exist_ok=True)
    both = {"first": small(), "second": small(name="other")}
    (folder / "config/config.yaml").write_text(yaml.safe_dump(both), "utf-8")
    (folder / "Snakefile").write_text(snakefile, "utf-8")
    command = [str(python), "-m", "snakemake", "--cores", "2", "--nocolor", *arguments]
    environment = installed_wheel.environment_variables()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Finished(done.returncode, done.stdout + done.stderr)


def used_twice(first: str, second: str) -> str:
    """Return a Snakefile with two modules of two configurations, the second with a prefix."""
    return (
        _CONFIGFILE
        + module("first", first, 'config: config["first"]')
        + module("second", second, 'prefix: "below"', 'config: config["second"]')
        + _ALL
    )


def assert_both_planned(plan: Plan) -> None:
    first = {name.removeprefix("first_"): count for name, count in plan.counts.items() if name.startswith("first_")}
    second = {name.removeprefix("second_"): count for name, count in plan.counts.items() if name.startswith("second_")}
    assert first == second and first["finetune"] == 2
    assert len(first) + len(second) == len(plan.counts)
    assert {path.split("/")[0] for path in plan.outputs} == {"results", "below"}


def test_branch_and_tag_of_git_are_used_side_by_side(repository, installed, tmp_path):
    source = f"git+file://{repository}/workflow/Snakefile"
    snakefile = used_twice(f"{source}@main", f"{source}@v1")
    done = snakemake(installed, tmp_path, snakefile, "--dry-run", "--printshellcmds")
    assert done.code == 0, done.output
    assert_both_planned(read_plan(done.output))
    # Snakemake puts the prefix before inputs and outputs; the rules must put it before the paths of their parameters.
    assert "below/results/other/evaluate/baselines/prom_core_all" in done.output
    assert not re.search(r"(?<!below/)(?:results|logs)/other\b", done.output)


def test_a_path_is_used_with_the_library_beside_it(without, tmp_path):
    source = str(ROOT / "workflow/Snakefile")
    done = snakemake(without, tmp_path, used_twice(source, source), "--dry-run")
    assert done.code == 0, done.output
    assert_both_planned(read_plan(done.output))


def test_a_module_without_configuration_is_refused(tmp_path):
    done = snakemake(PYTHON, tmp_path, module("first", str(ROOT / "workflow/Snakefile")), "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", "the module has no configuration", "module first")


def test_rules_of_git_need_the_package(repository, without, tmp_path):
    source = f"git+file://{repository}/workflow/Snakefile@main"
    done = snakemake(without, tmp_path, _CONFIGFILE + module("first", source, 'config: config["first"]'), "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", "the package dnatune is not installed", "-m pip install")


def test_rules_and_package_of_two_versions_are_refused(repository, installed, tmp_path):
    source = f"git+file://{repository}/workflow/Snakefile@later"
    done = snakemake(installed, tmp_path, _CONFIGFILE + module("first", source, 'config: config["first"]'), "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", "the rules are of version 99.", "-m pip install")


@pytest.mark.slow
def test_two_modules_of_git_run_to_their_reports(repository, installed, tmp_path):
    source = f"git+file://{repository}/workflow/Snakefile"
    snakefile = used_twice(f"{source}@main", f"{source}@v1")
    done = snakemake(installed, tmp_path, snakefile)
    assert done.code == 0, done.output
    for results in ("results/small", "below/results/other"):
        assert (tmp_path / results / "report.html").is_file()
        assert (tmp_path / results / "experiment.json").is_file()
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"small"}
    again = snakemake(installed, tmp_path, snakefile, "--dry-run")
    assert "Nothing to be done" in again.output


@pytest.mark.slow
def test_the_rules_of_the_wheel_run_to_the_report(installed, tmp_path):
    (rules,) = installed.parents[1].glob("lib/python*/site-packages/dnatune/workflow/Snakefile")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small()), "utf-8")
    done = snakemake(installed, tmp_path, "", "--snakefile", str(rules), "--configfile", "small.yaml")
    assert done.code == 0, done.output
    assert (tmp_path / "results/small/report.html").is_file()
