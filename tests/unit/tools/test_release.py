"""What a release needs: one version in all files, and workflows on GitHub that do what `make` does."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

import release
from dnatune.errors import ConfigurationError
from samples import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
WORKFLOWS = {path.stem: path for path in (ROOT / ".github/workflows").glob("*.yml")}
CHANGELOG = (
    "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-12-31\n\n### Added\n\n- Much.\n\n## 0.1.0 - 2026-11-30\n\n- All.\n"
)


def test_the_package_and_its_citation_agree():
    assert PROJECT["version"] == CITATION["version"] == release.cited_key(ROOT, "version")
    assert PROJECT["license"] == CITATION["license"]
    assert [author["name"] for author in PROJECT["authors"]] == [author["name"] for author in CITATION["authors"]]
    assert CITATION["title"].startswith(f"{PROJECT['name']}: ")


def test_nothing_stands_before_the_citation_where_zenodo_reads():
    """Zenodo reads CITATION.cff, and if there is a .zenodo.json, that alone."""
    assert not (ROOT / ".zenodo.json").exists()


def test_what_is_unreleased_stands_under_added_changed_or_fixed():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8").split("## Unreleased\n")[1].split("\n## ")[0]
    before, *parts = re.split(r"^### (.*)$", text, flags=re.MULTILINE)
    assert not re.search("^- ", before, re.MULTILINE), "put the line under Added, Changed or Fixed"
    # The kinds of Keep a Changelog, in its order.
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    assert parts[::2] == [kind for kind in kinds if kind in parts[::2]]


@pytest.fixture
def checkout(tmp_path):
    """The files of a release 0.2.0."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "0.2.0"\n', "utf-8")
    (tmp_path / "CITATION.cff").write_text('version: 0.2.0\ndate-released: "2026-12-31"\n', "utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, "utf-8")
    return tmp_path


def test_the_notes_are_the_section_of_the_changelog(checkout):
    assert release.notes(checkout, "v0.2.0") == "### Added\n\n- Much."


@pytest.mark.parametrize(
    ("file", "old", "new", "phrase"),
    [
        ("pyproject.toml", "0.2.0", "0.2.1", "version is 0.2.1"),
        ("CITATION.cff", "0.2.0", "0.1.0", "version is 0.1.0"),
        ("CITATION.cff", "12-31", "12-30", "date of the release is 2026-12-30"),
        ("CITATION.cff", "date-released", "date", "date of the release is None"),
        ("CHANGELOG.md", "## 0.2.0", "## 0.3.0", "no section on 0.2.0"),
        ("CHANGELOG.md", "### Added\n\n- Much.\n\n", "", "no section on 0.2.0"),
    ],
)
def test_a_file_that_names_another_release_ends_it(file, old, new, phrase, checkout):
    path = checkout / file
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(ConfigurationError, match=phrase) as caught:
        release.notes(checkout, "v0.2.0")
    assert file == caught.value.where and caught.value.fix


@pytest.mark.parametrize("tag", ["0.2.0", "v0.2", "v0.2.0-rc1", "vx"])
def test_a_tag_of_no_version_ends_it(tag, checkout):
    with pytest.raises(ConfigurationError, match="none of a version"):
        release.notes(checkout, tag)


def test_it_needs_nothing_but_python():
    """It runs where a release is made, by the system's Python, which has none of the libraries."""
    command = [sys.executable, "-S", ROOT / "tools/release.py", "v99.0.0"]
    environment = {"PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "ConfigurationError: the version is" in done.stderr


def steps(name):
    (job,) = yaml.safe_load(WORKFLOWS[name].read_text("utf-8"))["jobs"].values()
    return job["steps"]


def test_github_runs_what_any_machine_runs():
    assert WORKFLOWS.keys() == {"ci", "release"}
    assert any(step.get("run", "").endswith(" .ci/run") for step in steps("ci"))
    ran = "\n".join(step.get("run", "") for step in steps("release"))
    for command in ("tools/release.py", "make site", "pip wheel", "gh release create"):
        assert command in ran


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_workflow_may_do_little_and_names_commits(name):
    content = yaml.safe_load(WORKFLOWS[name].read_text("utf-8"))
    assert content["permissions"] == {}
    (job,) = content["jobs"].values()
    assert job["permissions"] == {"contents": "write" if name == "release" else "read"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", one) for one in used)
    # The token is in the environment of the step that needs it, and on no disk.
    assert [step["name"] for step in job["steps"] if "token" in str(step.get("env", ""))] == (
        ["release"] if name == "release" else []
    )
    assert all(step["with"]["persist-credentials"] is False for step in job["steps"] if "uses" in step)


LINTED = {
    "a token for all steps": ("release", "permissions: {}", "permissions: write-all"),
    "a tag of an action": ("ci", r"checkout@[0-9a-f]{40}", "checkout@v7"),
    "a name that a shell reads": ("release", r'"\$GITHUB_REF_NAME" > notes', "${{ github.ref_name }} > notes"),
    "an unknown key": ("ci", "timeout-minutes", "timeout"),
}


@pytest.mark.parametrize("fault", [None, *LINTED])
def test_the_linters_find_what_they_are_there_for(fault, checks, tmp_path):
    for name, path in WORKFLOWS.items():
        text = path.read_text("utf-8")
        if fault and LINTED[fault][0] == name:
            text, count = re.subn(LINTED[fault][1], LINTED[fault][2], text)
            assert count
        (tmp_path / f".github/workflows/{name}.yml").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f".github/workflows/{name}.yml").write_text(text, "utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    commands = re.findall(r"^\t\$\(CHECKS\)/bin/(.*\.github/workflows.*)$", makefile, re.MULTILINE)
    assert len(commands) == 2
    ended = [
        subprocess.run(["sh", "-c", f"{checks}/{one}"], cwd=tmp_path, capture_output=True, check=False).returncode
        for one in commands
    ]
    assert (ended == [0, 0]) == (fault is None)
