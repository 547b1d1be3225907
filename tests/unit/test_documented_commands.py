"""What the pages tell a reader to type: the program that a command names takes it, or a reason says why not."""

import argparse
import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from pip._internal.commands import create_command
from snakemake.cli import parse_args

import site_pages
from dnatune import cli
from dnatune.commands import cost
from dnatune.errors import DnatuneError
from documented_commands import BEGINS, command_blocks, commands_in, commands_of
from samples import ROOT

COMMANDS = [command for page in site_pages.pages() for command in commands_of(page)]
#: What no program here takes, by the beginning of its text, with the reason.
NOT_TAKEN = {
    "python convert_hf_to_gguf.py": "a program of llama.cpp",
    "benchmarks/gpu.sh GUE_FOLDER": "a usage line of what needs a GPU; tests/workflow/test_gpu_script.py checks it",
    "PACKAGE=$(python -c": "needs the installed package; tests/workflow/test_module_use.py runs rules from one",
    "chmod ": "changes the rights of a folder that several users share",
    "export DNATUNE_SITE=": "sets a variable of the reader's shell",
    "cd ": "changes the folder of the reader's shell",
    "python -m venv": "makes an environment of the reader's",
    "awk ": "needs the data of the demo; tests/workflow/test_tutorial.py runs it",
}
#: A reader's own files and folders, which commands name.
OWN_CONFIGURATIONS, OWN_FOLDERS = ("my.yaml", "mine.yaml", "config.yaml"), ("GUE", "dnahl-llama")


MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
RULES = "\n".join(path.read_text("utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))


class ParsedError(Exception):
    """The real parser has taken the arguments; what they ask for must not be done."""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder as a reader has it: the checkout, a configuration and data."""
    for path in ROOT.iterdir():
        if path.name not in ("results", "logs", "build") and path.name[0] != ".":
            (tmp_path / path.name).symlink_to(path)
    for name in OWN_CONFIGURATIONS:
        (tmp_path / name).write_bytes((ROOT / "config/demo.yaml").read_bytes())
    for name in OWN_FOLDERS:
        (tmp_path / name).mkdir()
    (tmp_path / "manifest.txt").write_text("", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(call, *arguments):
    """Return what a program's own argparse parser takes; the program ends there."""
    real = argparse.ArgumentParser.parse_args

    def parse(self, *arguments, **named):
        raise ParsedError(real(self, *arguments, **named))

    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse), pytest.raises(ParsedError) as taken:
        call(*arguments)
    return taken.value.args[0]


def check_make(command):
    """The target and the variables are there, and Snakemake takes what the target calls it with."""
    done = subprocess.run(["make", "--dry-run", *command.words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unknown_variables(command.words) == []
    for line in re.findall(r"^\.venv/bin/snakemake .*", done.stdout, re.MULTILINE):
        check_snakemake(*commands_in(line, command.page, command.line))


def unknown_variables(words):
    names = [word.partition("=")[0] for word in words if "=" in word]
    return [name for name in names if not re.search(rf"^{name} \?=", MAKEFILE, re.MULTILINE)]


def check_snakemake(command):
    """Snakemake's own parser takes the options, and dnatune the configuration that they give."""
    _, options = parse_args([re.sub(r"^(?:\$PACKAGE|/shared/dnatune)\b", str(ROOT), word) for word in command.words])
    named = [*options.targets, *(options.set_resources or {})]
    assert [name for name in named if not is_made(name)] == []
    assert cost.configuration_of(argparse.Namespace(configfile=options.configfile or [], config=options.config or []))
    assert options.snakefile is None or Path(options.snakefile).is_file()


def is_made(target):
    rule = rf'^(?:rule|checkpoint) {target}:|^ +name:\n +"{target}"'
    return target.startswith("results/") or re.search(rule, RULES, re.MULTILINE)


def check_python(command):
    """Code is Python; the parser of a stage or program takes the options."""
    first, *words = command.words
    if first in ("-c", "-"):
        ast.parse(command.code or words[0])
    elif first == "-m":
        assert words.pop(0) == "dnatune"
        options = parsed(cli.call, *words)
        if words[0] == "launch":
            parsed(cli.call, options.script, *options.arguments)
    else:
        with mock.patch.object(sys, "argv", [first, *words]):
            parsed(lambda: runpy.run_path(first, run_name="__main__"))


def check_git(command):
    action, source, folder = command.words
    assert (action, source) == ("clone", "REPOSITORY")
    assert folder.endswith("dnatune")


def check_pip(command):
    name, *words = command.words
    _, wanted = create_command(name).parse_args(words)
    assert wanted and not any(word.startswith("-") for word in wanted)


CHECKS = {
    "make": check_make,
    "snakemake": check_snakemake,
    "python": check_python,
    "git": check_git,
    "pip": check_pip,
}


def is_not_taken(command):
    return any(command.text.startswith(beginning) or command.program == beginning.strip() for beginning in NOT_TAKEN)


def test_every_command_is_checked_or_has_a_reason():
    assert len(COMMANDS) > 60
    assert [str(one) for one in COMMANDS if one.program not in CHECKS and not is_not_taken(one)] == []
    assert [beginning for beginning in NOT_TAKEN if not any(one.text.startswith(beginning) for one in COMMANDS)] == []
    named = re.findall(r"tests/[\w/]+\.py", " ".join(NOT_TAKEN.values()))
    assert [path for path in named if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("command", [one for one in COMMANDS if not is_not_taken(one)], ids=str)
def test_the_program_takes_the_command(command, checkout):
    CHECKS[command.program](command)


WRONG = {
    "a target": "make none",
    "a variable": "make setup TORCH=x",
    "a key": "snakemake --cores all --configfile config/demo.yaml --config 'training={\"batch\": 1}'",
    "a file": "snakemake --cores all --configfile config/none.yaml",
    # --configfile takes every word behind it.
    "a rule behind a file": "snakemake --cores all --configfile my.yaml predict",
    "a rule": "snakemake none --cores all --configfile my.yaml",
    "an option of a stage": ".venv/bin/python -m dnatune predict --models results",
    "an option of pip": "pip install --no-dependence torch",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_wrong_command_is_found(text, checkout):
    (checkout / "page.md").write_text(f"```\n{text}\n```\n", "utf-8")
    (command,) = commands_of(str(checkout / "page.md"))
    with pytest.raises((AssertionError, SystemExit, DnatuneError)):
        CHECKS[command.program](command)


@pytest.mark.parametrize("page", site_pages.pages())
def test_a_block_begins_with_a_command_or_has_none(page):
    blocks = [block for block in site_pages.blocks_of((ROOT / page).read_text("utf-8")) if block.language in ("", "sh")]
    rest = [line for block in blocks if block not in command_blocks(page) for line in block.text.splitlines()]
    assert [line for line in rest if BEGINS.match(line)] == []


@pytest.mark.parametrize("page", site_pages.pages())
def test_make_and_dnatune_know_what_the_prose_names(page):
    text = (ROOT / page).read_text("utf-8")
    named = re.findall(r"`(?:\w+=\S+ )?make ([a-z-]+)((?: [A-Z_]+=)*)", text)
    assert [target for target, _ in named if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []
    assert unknown_variables(word for _, variables in named for word in variables.split()) == []
    stages = re.findall(r"`(?:\S+/)?python -m dnatune (?:--log \S+ )?([a-z_]+)", text)
    assert [stage for stage in stages if stage not in cli.STAGES] == []


@pytest.mark.parametrize("page", ["docs/optimizers.md", "docs/statistics.md"])
def test_short_examples_in_python_run(page):
    """That of docs/simulated-data.md makes 116,000 sequences, which takes minutes."""
    (code,) = [one.code or one.words[1] for one in commands_of(page) if one.words[0] in ("-c", "-")]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout
