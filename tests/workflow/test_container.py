"""`--sdm apptainer`: jobs run in the image that the site names, and what is missing for that is one message.

The programs here stand for Apptainer and have no container.
"""

import os
import re

import pytest
import yaml

import apptainer_programs
from dnatune import errors, outcomes
from one_message import assert_one_message
from workflow_runs import ROOT, Workplace, run, small

DATA = "results/small/download/data/prom_core_all/train.csv"


@pytest.fixture
def place(tmp_path):
    """A folder with a site that names an image, and an Apptainer on PATH."""
    workplace = Workplace(tmp_path / "work")
    image = tmp_path / "dnatune.sif"
    image.touch()
    describe(workplace, container=str(image))
    return workplace, image, apptainer_programs.write(tmp_path / "bin")


def describe(workplace, **keys):
    workplace.site.write_text(yaml.safe_dump({"ranks_per_node": 1, "cpus_per_rank": 1, **keys}), "utf-8")


def start(place, *arguments, path=None, methods=("apptainer",), **variables):
    workplace, _, programs = place
    environment = {
        "DNATUNE_SITE": str(workplace.site),
        "PYTHONPATH": "",
        "PATH": path or apptainer_programs.first_on_path(programs),
        **variables,
    }
    command = workplace.command(small(), "--sdm", *methods, *arguments)
    return run(command, workplace.folder, environment)


def calls(place):
    """Return what Apptainer was called with, and forget it."""
    noted = place[2] / "calls"
    lines = noted.read_text("utf-8").splitlines() if noted.exists() else []
    noted.unlink(missing_ok=True)
    return lines


def test_a_job_runs_in_the_image_with_the_library_of_the_checkout(place):
    workplace, image, _ = place
    done = start(place, "--apptainer-args", "--bind /opt", "--", DATA)
    assert done.code == 0, done.output
    assert (workplace.folder / DATA).is_file()
    asked, job = calls(place)
    opening = f"exec --home {workplace.folder} --bind /opt"
    assert asked.startswith(opening) and job.startswith(opening)
    # The command of the job is the rule's, with nothing before it but what bash is told.
    assert re.search(rf" {image} bash -c [^-]*set -euo pipefail; +python -m dnatune --log logs/small/download", job)
    assert str(ROOT / "workflow") in asked


def test_without_the_option_a_named_image_changes_nothing(place):
    workplace, _, programs = place
    done = run(
        workplace.command(small(), DATA),
        workplace.folder,
        {"DNATUNE_SITE": str(workplace.site), "PYTHONPATH": "", "PATH": apptainer_programs.first_on_path(programs)},
    )
    assert done.code == 0, done.output
    assert calls(place) == [] and (workplace.folder / DATA).is_file()


def test_a_failed_job_is_shown_with_the_command_that_starts_the_container(place, tmp_path):
    workplace, image, _ = place
    done = start(place, "--until", "prepare")
    assert done.code == 0, done.output
    (workplace.folder / DATA).write_text("sequence,label\nACGT,7\n", "utf-8")
    done = start(place, "--forcerun", "prepare", "--until", "prepare", "--rerun-triggers", "mtime")
    assert done.code != 0
    assert "DataError" in done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("    command: ")]
    python = f'apptainer exec --home "$PWD" --env PYTHONPATH={ROOT / "workflow"} {image} python'
    assert line.startswith(f"    command: cd {workplace.folder} && {python} -m dnatune --log logs/small/prepare")


@pytest.mark.parametrize(
    ("keys", "methods", "phrases"),
    [
        ({}, ["apptainer"], ["names no image", "key 'container'", "docs/container.md"]),
        ({"container": "/no/such.sif"}, ["apptainer"], ["no image /no/such.sif", "key 'container'", "make sif"]),
        ({"container": "/opt", "gpus_per_node": 2, "cpus_per_rank": 1}, ["apptainer"], ["--nv", "--apptainer-args"]),
        ({"container": "/opt"}, ["conda", "apptainer"], ["not in both", "--sdm"]),
    ],
    ids=["no key", "no file", "no --nv", "conda too"],
)
def test_what_is_missing_is_told_before_anything_runs(place, keys, methods, phrases):
    describe(place[0], **keys)
    done = start(place, "--dry-run", methods=methods)
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", *phrases)
    assert calls(place) == []


def test_nodes_of_the_command_line_need_srun_which_no_container_has(place):
    describe(place[0], container=str(place[1]), gpus_per_node=0, slurm={})
    done = start(place, "--dry-run", "--set-resources", "finetune:nodes=2")
    assert_one_message(done.output, "ConfigurationError", "2 nodes", "srun")


def test_a_machine_without_apptainer_is_told_in_a_dry_run(place, tmp_path):
    (tmp_path / "empty").mkdir()
    done = start(place, "--dry-run", path=str(tmp_path / "empty"))
    assert_one_message(done.output, "ConfigurationError", "neither apptainer nor singularity", "this machine")


@pytest.mark.parametrize(
    ("instead", "phrases"),
    [
        ("echo 'FATAL: no user namespaces' >&2; exit 255", ["FATAL: no user namespaces"]),
        ('export PYTHONPATH="${0%/*}/other"; exec "$@"', ["the rules are those of", "--cleanenv"]),
    ],
    ids=["does not start", "has another library"],
)
def test_a_container_in_which_no_job_would_run_ends_the_start(place, instead, phrases):
    apptainer_programs.write(place[2], instead)
    other = place[2] / "other/dnatune"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    done = start(place, "--", DATA)
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", *phrases)
    assert not (place[0].folder / "results").exists() and not (place[0].folder / "logs").exists()


def test_a_job_on_a_machine_that_lacks_the_image_tells_it_once(place):
    workplace, image, _ = place
    assert start(place, "--", DATA).code == 0 and len(calls(place)) == 2
    image.unlink()
    # As the Slurm plugin starts it on the compute node.
    done = start(place, "--mode", "remote", "--no-hooks", "--retries=2", "--forcerun", "download_data", "--", DATA)
    assert done.code != 0
    assert done.output.count("Error in rule download_data") == 1 and calls(place) == []
    failure, _ = outcomes.read(workplace.folder / "logs/small/download/data/prom_core_all.outcome.json")
    assert isinstance(failure, errors.ConfigurationError)
    assert failure.what == f"there is no image {image}"


def test_a_module_of_the_site_may_bring_apptainer_to_a_job(place):
    workplace, image, programs = place
    assert start(place, "--", DATA).code == 0 and len(calls(place)) == 2
    describe(workplace, container=str(image), gpus_per_node=0, slurm={"modules": ["apptainer"]})
    inside = {"SLURM_JOB_ID": "7", "BASH_FUNC_module%%": f"() {{ PATH={programs}:$PATH; }}"}
    again = ("--mode", "remote", "--no-hooks", "--forcerun", "download_data", "--", DATA)
    done = start(place, *again, path=os.environ["PATH"], **inside)
    assert done.code == 0, done.output
    assert len(calls(place)) == 1
