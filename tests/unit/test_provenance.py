"""The digest of a stage's code: what belongs to it, and what does not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dnatune import provenance
from dnatune.errors import ConfigurationError
from samples import ROOT
from slurm_programs import program


@pytest.fixture
def library(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "workflow/dnatune", tmp_path / "dnatune", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "_LIBRARY", tmp_path / "dnatune")
    return tmp_path / "dnatune"


@pytest.fixture(scope="module")
def before():
    """The digest of training, of this checkout."""
    return provenance.code_digest(ROOT / "workflow/dnatune/commands/finetune.py")


def test_a_copy_of_the_code_has_the_same_digest(library, before):
    assert provenance.code_digest(library / "commands/finetune.py") == before


@pytest.mark.parametrize(
    ("file", "belongs"),
    [
        ("commands/finetune.py", True),
        ("training/loop.py", True),
        ("model/shared_prefix/attention.py", True),
        # Imported by name, when a method asks for it.
        ("optimizers/runge_kutta.py", True),
        ("report/formatting.py", False),
        ("data/hub/transfer.py", False),
        ("commands/evaluate.py", False),
        # Beside what training reads.
        ("data/leakage.py", False),
    ],
)
def test_only_code_that_a_stage_runs_changes_its_digest(library, before, file, belongs):
    (library / file).write_text((library / file).read_text("utf-8") + "\nCHANGED = 1\n", "utf-8")
    assert (provenance.code_digest(library / "commands/finetune.py") != before) == belongs


def test_a_module_of_messages_and_what_it_alone_imports_stay_out(library):
    def digest():
        return provenance.code_digest(library / "commands/finetune.py")

    (library / "words.py").write_text("LONG = 1\n", "utf-8")
    messages = library / "messages.py"
    messages.write_text("from dnatune import words\n\nTEXT = 'No.'\n", "utf-8")
    training = library / "training/loop.py"
    training.write_text(training.read_text("utf-8") + "\nfrom dnatune import messages\n", "utf-8")
    before = digest()
    messages.write_text("from dnatune import words\n\nTEXT = 'Not so.'\n", "utf-8")
    (library / "words.py").write_text("LONG = 2\n", "utf-8")
    assert digest() == before
    # That a stage reads it is code.
    training.write_text(training.read_text("utf-8").replace("import messages", "import messages as m"), "utf-8")
    assert digest() != before


SAMPLE = '''"""Says what ä module is."""

import logging

_LOG = logging.getLogger(__name__)
#: Ä prompt.
PROMPT = (
    "Which class? "
    "One word.\\n"
)
LONG = """kept,
  # kept too
"""


class Wrong(ValueError):
    """An error."""


def half(x, share=0.5):  # why
    """Return part of x."""
    if not x:
        raise Wrong(f"{x!r} is no number", where="ä", fix="give one") from None
    _LOG.warning("half of %s", name(x, "ä"))
    logging.info(f"käse {x:.{3}f} {'a'}" " more")
    return f"{x * share:>{8}}" + f"""{
        x}"""
'''
#: As every version of Python must read it.
ESSENCE = [
    *("import", "logging", "\n", "_LOG", "=", "logging", ".", "getLogger", "(", "__name__", ")", "\n"),
    *("PROMPT", "=", "(", '"Which class? "', '"One word.\\n"', ")", "\n"),
    *("LONG", "=", '"""kept,\n  # kept too\n"""', "\n"),
    *("class", "Wrong", "(", "ValueError", ")", ":", "\n", " >", "pass", "\n", " <"),
    *("def", "half", "(", "x", ",", "share", "=", "0.5", ")", ":", "\n", " >"),
    *("if", "not", "x", ":", "\n", " >", "raise", "Wrong", "(", " message", ","),
    *("where", "=", " message", ",", "fix", "=", " message", ")", "from", "None", "\n", " <"),
    *("_LOG", ".", "warning", "(", " message", ",", "name", "(", "x", ",", " message", ")", ")", "\n"),
    *("logging", ".", "info", "(", " message", ")", "\n"),
    *("return", 'f"{x * share:>{8}}"', "+", 'f"""{\n        x}"""', "\n", " <"),
]


def essence(text: str) -> list[str]:
    return provenance.essence(text.encode())


def test_what_the_field_of_a_class_means_is_no_code():
    plain = "class Settings:\n    rank: int = 8\n    alpha: int = 32\n"
    told = plain.replace("= 8\n", '= 8\n    """Rank."""\n') + '    """Scale."""\n'
    assert essence(told) == essence(plain)
    # A string that stands for something stays.
    assert essence(plain.replace("8", '"8"')) != essence(plain)


def changed(*replacements: tuple[str, str]) -> str:
    text = SAMPLE
    for old, new in replacements:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


def test_the_essence_of_a_module():
    assert essence(SAMPLE) == ESSENCE


@pytest.mark.parametrize(
    "text",
    [
        changed(("Says what ä module is.", "Other words,\n\non three lines.\n")),
        changed(('"""Says what ä module is."""\n', "")),
        changed(('    """Return part of x."""\n', "")),
        changed(('"""Return part of x."""', "r'Return ü.'  # why not")),
        changed(('"""An error."""', "pass")),
        changed(('"""An error."""\n', '\n    """An error,\n    a bad one."""  # or so\n')),
        changed(("  # why", "")),
        changed(("#: Ä prompt.\n", "")),
        changed(("    if not x", "\n  # ünder another indentation\n\n    if not x")),
        changed(("import logging", "# before\nimport logging  # beside")),
        changed(('"Which class? "', '"Which class? "  # in brackets')),
        changed(("name(x, ", "name(\n  # why\n x, "), ('"ä"))', '"ä",\n),\n)')),
        changed(("{x!r} is no number", "ö {x} {x + 1} {'{'} is not"), ("give one", "give two")),
        changed(('f"{x!r} is no number"', '"no"'), ('fix="give one")', 'fix="give"\n  f" {x} now",\n)')),
        changed(("half of %s", "ein Halbes von %s"), ("käse", "cheese")),
        SAMPLE.replace("\n", "\r\n"),
        SAMPLE.replace("x:\n", "x:  \t\n").replace("\n\n\n", "\n  \n\n\n\n"),
        SAMPLE.rstrip("\n"),
        "\ufeff" + SAMPLE,
    ],
)
def test_what_is_for_people_is_no_part_of_it(text):
    assert text != SAMPLE
    compile(text.removeprefix("\ufeff"), "sample", "exec")
    assert essence(text) == ESSENCE


@pytest.mark.parametrize(
    "text",
    [
        changed(("share=0.5", "share=0.25")),
        changed(("x * share", "x / share")),
        changed((">{8}", ">{9}")),
        changed(("if not x", "if x")),
        changed(("Which class?", "What class?")),
        changed(("  # kept too", "")),
        changed(("kept,\n", "kept, \n")),
        changed(("raise Wrong", "raise ValueError")),
        changed(("name(x, ", "name(-x, ")),
        changed((" from None", "")),
        changed(("    _LOG.warning", "        _LOG.warning")),
        changed(("_LOG.warning(", "warn(")),
        SAMPLE + "half(1)\n",
        SAMPLE + "'no docstring'\n",
    ],
)
def test_what_the_machine_does_is(text):
    compile(text, "sample", "exec")
    assert essence(text) != ESSENCE


@pytest.mark.parametrize(("left", "right"), [("x = (1,)", "x = (1)"), ("x[1,]", "x[1]"), ("x = 1,", "x = 1")])
def test_a_comma_that_makes_a_tuple_stays(left, right):
    assert essence(left) != essence(right)


@pytest.mark.parametrize(("left", "right"), [("f(a, b)", "f(\n    a,  # why\n    b,\n)"), ("[1]", "[\n1, # one\n]")])
def test_a_comma_that_a_comment_brings_does_not(left, right):
    assert essence(left) == essence(right)


def test_a_field_s_docstring_is_no_part_of_it_and_a_string_elsewhere_in_a_class_is():
    field = "class A:\n    x: int\n    {}y: int\n"
    assert essence(field.format("'in words'\n    ")) == essence(field.format(""))
    assert essence("class A:\n    x()\n    'in words'\n") != essence("class A:\n    x()\n")


def _other_pythons() -> list[Path]:
    """Return an interpreter of each other minor version from 3.11 that this machine has in a usual place."""
    places = [
        *(Path.home() / ".pyenv/versions").glob("3.[1-9][0-9].*/bin/python3.[1-9][0-9]"),
        *(path for folder in ("/usr/bin", "/usr/local/bin") for path in Path(folder).glob("python3.[1-9][0-9]")),
    ]
    found = {int(path.name.partition(".")[2]): path for path in places}
    return [path for minor, path in sorted(found.items()) if minor >= 11 and minor != sys.version_info.minor]


#: Prints the essence of every module, and the digest of a stage, which is made of those of what it imports.
DIGESTS = """
import json, pathlib, sys, zlib
sys.path.insert(0, sys.argv[1])
from dnatune import provenance
library = pathlib.Path(sys.argv[1], "dnatune")
found = {str(file): zlib.crc32(repr(provenance.essence(file.read_bytes())).encode()) for file in library.rglob("*.py")}
print(json.dumps({**found, "finetune": provenance.code_digest(library / "commands/finetune.py")}))
"""


def test_every_version_of_python_finds_the_same_digests():
    pythons = _other_pythons()
    if not pythons:
        pytest.skip("this machine has no other Python from 3.11")

    def digests(python):
        command = [python, "-B", "-W", "ignore", "-c", DIGESTS, ROOT / "workflow"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)

    own = digests(sys.executable)
    assert len(own) > 100
    for python in pythons:
        assert digests(python) == own, python


def test_the_processor_has_a_name(monkeypatch, tmp_path):
    assert provenance.cpu_model()
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Processor 9000 @ 3 GHz\nmodel name\t: another\n", "utf-8")
    monkeypatch.setattr(provenance, "Path", lambda _: listing)
    assert provenance.cpu_model() == "Processor 9000 @ 3 GHz"


def test_gpus_are_counted_as_nvidia_smi_lists_them(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "nvidia-smi", "echo 'GPU 0: one'; echo '  MIG 1g.10gb'; echo 'GPU 1: other'")
    assert provenance.visible_gpus({}) == 2
    assert provenance.visible_gpus({"CUDA_VISIBLE_DEVICES": "3"}) == 1


def test_an_nvidia_smi_that_hangs_is_told_and_not_waited_for(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "nvidia-smi", "exec sleep 60")
    run = subprocess.run
    monkeypatch.setattr(
        provenance.subprocess, "run", lambda *words, **options: run(*words, **{**options, "timeout": 1})
    )
    with pytest.raises(ConfigurationError, match="nvidia-smi") as caught:
        provenance.visible_gpus({})
    assert "gpus_per_node" in caught.value.fix


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of one commit, from whose library this process seems to run, and nobody's settings of git."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    library = tmp_path / "checkout/workflow/dnatune"
    library.mkdir(parents=True)
    (library / "one.py").write_text("one = 1\n", "utf-8")
    monkeypatch.setattr(provenance, "_LIBRARY", library)

    def git(*words):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path / "checkout"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=one")
    return git


def test_the_commit_of_a_checkout_that_belongs_to_another_user_is_recorded(checkout, monkeypatch):
    head = checkout("rev-parse", "HEAD")
    # git's own tests say so that the owner is another.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
        checkout("status")
    assert provenance.git_commit() == head
    (provenance._LIBRARY / "one.py").write_text("one = 2\n", "utf-8")
    assert provenance.git_commit() == f"{head}+"


def test_a_commit_that_git_cannot_tell_is_unknown(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_commit() == "unknown"


def test_the_repository_around_a_folder_of_packages_is_not_dnatunes(checkout, monkeypatch):
    packages = provenance._LIBRARY.parents[1] / "venv/lib/site-packages/dnatune"
    packages.mkdir(parents=True)
    monkeypatch.setattr(provenance, "_LIBRARY", packages)
    assert provenance.git_commit() is None
