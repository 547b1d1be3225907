"""The recipes of the image: one base, one script, and nothing in it but what that script needs."""

import fnmatch
import re
import subprocess

import pytest

import installed_wheel
from samples import ROOT

FOLDER = ROOT / "envs/container"
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
DEFINITION = (FOLDER / "dnatune.def").read_text("utf-8")
SCRIPT = (FOLDER / "install.sh").read_text("utf-8")


def copied_by_docker():
    return {source for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()}


def copied_by_apptainer():
    section = DEFINITION.split("%files\n")[1].split("\n\n")[0]
    return dict(line.split() for line in section.splitlines())


def test_both_recipes_begin_with_the_same_base():
    (docker,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    (apptainer,) = re.findall(r"^From: (\S+)$", DEFINITION, re.MULTILINE)
    assert docker == apptainer
    # Apptainer takes a tag or a digest, not both; only a digest stays what it is.
    assert re.fullmatch(r"debian@sha256:[0-9a-f]{64}", docker)


def test_both_recipes_run_the_same_script_on_the_same_files():
    (place,) = set(re.findall(r"^COPY .+ (/tmp/\w+)/", DOCKERFILE, re.MULTILINE))
    assert f"RUN {place}/envs/container/install.sh {place} && rm -r {place}\n" in DOCKERFILE
    post = DEFINITION.split("%post\n")[1].split("\n\n")[0]
    assert "/opt/source/envs/container/install.sh /opt/source\n" in post and "rm -r /opt/source" in post
    assert (FOLDER / "install.sh").stat().st_mode & 0o111
    assert copied_by_docker() == set(copied_by_apptainer())
    assert copied_by_apptainer() == {name: f"/opt/source/{name}" for name in copied_by_docker()}


def test_they_copy_what_the_package_is_made_from():
    """`installed_wheel` builds the wheel from just these in other tests."""
    assert copied_by_docker() == set(installed_wheel.SOURCES)
    assert [name for name in copied_by_docker() if not (ROOT / name).exists()] == []


def test_both_images_find_the_environment_first():
    path = r"PATH=(\S+)$"
    (docker,), (apptainer,) = (re.findall(path, text, re.MULTILINE) for text in (DOCKERFILE, DEFINITION))
    assert docker == apptainer and docker.startswith("/opt/dnatune/bin:")
    assert "place=/opt/dnatune\n" in SCRIPT


def excluded(path):
    """Return whether .dockerignore keeps a path out of the build: the last line that matches it or a parent decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if line and line[0] != "#":
            pattern, keeps = line.removeprefix("!"), line.startswith("!")
            parents = ["/".join(path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
            matches = [part for part in parents if fnmatch.fnmatch(part, pattern.removeprefix("**/"))]
            matches += [part for part in parents if pattern.startswith("**/") and fnmatch.fnmatch(part, pattern)]
            out = not keeps if matches else out
    return out


def test_docker_is_sent_the_sources_and_nothing_else():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    sent = {file for file in filter(None, files) if not excluded(file)}
    assert sent == {file for file in filter(None, files) if file.split("/")[0] in copied_by_docker()}
    kept_out = (
        *(".git/config", ".venv/bin/python", "results/demo/report.html", "logs/demo/a.log", "build/dnatune.sif"),
        *("profiles/sites/local/site.yaml", "workflow/dnatune/__pycache__/cli.cpython-311.pyc", "tests/conftest.py"),
    )
    assert [path for path in kept_out if not excluded(path)] == []


@pytest.mark.parametrize("needed", ["python3", "python3-venv", "ca-certificates", "gcc", "python3-dev", "git"])
def test_the_script_installs_what_the_library_needs_of_the_system(needed):
    (line,) = re.findall(r"^apt-get install (.*)$", SCRIPT, re.MULTILINE)
    assert needed in line.split()


def test_bash_takes_the_script():
    subprocess.run(["bash", "-n", FOLDER / "install.sh"], check=True)
    done = subprocess.run([FOLDER / "install.sh"], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "pyproject.toml" in done.stderr


@pytest.mark.parametrize(("target", "told"), [("image", "neither docker nor podman"), ("sif", "neither apptainer nor")])
def test_a_machine_that_builds_no_images_is_told(target, told, tmp_path):
    for program in ("mkdir", "sh", "bash"):
        found = subprocess.run(["which", program], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / program).symlink_to(found)
    make = subprocess.run(["which", "make"], capture_output=True, text=True, check=True).stdout.strip()
    done = subprocess.run(
        [make, "--silent", target],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and told in done.stderr
