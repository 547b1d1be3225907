"""The conventions of a Snakemake workflow: rules that say what they are, one pinned environment, a clean lint."""

import re

import pytest
import yaml

from workflow_runs import ROOT, Workplace

RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
STAGES = ("download", "prepare", "pretrain", "finetune", "evaluate", "compare")


def rules_of(text: str) -> dict[str, dict[str, str]]:
    """Return {rule: {directive: body}} of the text of a rule file."""
    # A rule in a loop has its name as a directive.
    looped = re.compile(r'^    rule:\n        name:\n            "(\w+)".*\n((?:        .*\n|\n)+)', re.MULTILINE)
    text = looped.sub(lambda match: f"rule {match[1]}:\n" + re.sub(r"^    ", "", match[2], flags=re.MULTILINE), text)
    blocks = re.split(r"^(?:rule|checkpoint) (\w+):\n", text, flags=re.MULTILINE)
    rules = {}
    for name, body in zip(blocks[1::2], blocks[2::2], strict=True):
        body = re.split(r"^\S", body, maxsplit=1, flags=re.MULTILINE)[0]
        parts = re.split(r"^    (\w+):", body, flags=re.MULTILINE)
        rules[name] = dict(zip(parts[1::2], parts[2::2], strict=True))
    return rules


ALL_RULES = {name: rule for file in RULES for name, rule in rules_of(file.read_text("utf-8")).items()}


def test_snakemake_lint_finds_nothing(tmp_path):
    done = Workplace(tmp_path).snakemake(ROOT / "config" / "demo.yaml", "--lint")
    assert done.code == 0, done.output
    assert "Congratulations" in done.output


def test_every_stage_has_a_rule_file():
    assert {file.stem for file in RULES} >= {"common", *STAGES}
    included = re.findall(r'include: "rules/(\w+)\.smk"', (ROOT / "workflow" / "Snakefile").read_text("utf-8"))
    assert sorted(included) == [file.stem for file in RULES]
    assert ALL_RULES.keys() >= {"download_data", "download_model", "prepare", "finetune", "evaluate", "compare"}


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_a_rule_file_opens_with_its_contract(file):
    text = file.read_text("utf-8")
    assert text.startswith('"""')
    contract = text[3 : text.index('"""', 3)]
    assert re.search(r"^Config(?: keys used)?:", contract, re.MULTILINE)
    if rules_of(text):
        assert contract.startswith(f"{file.stem}: ")
        for word in ("Inputs:", "Outputs:"):
            assert re.search(f"^{word}", contract, re.MULTILINE), word


@pytest.mark.parametrize("name", ALL_RULES)
def test_a_rule_that_does_work_says_what_it_needs_and_leaves(name):
    rule = ALL_RULES[name]
    assert rule.keys() >= {"output", "log", "benchmark", "resources", "conda", "shell"}
    assert rule["conda"].strip() == "ENVIRONMENT"
    # What a stage says must not be lost.
    assert re.match(r'\s*"python -m dnatune --log {log:q} ', rule["shell"])
    assert {"mem_mb", "runtime"} <= set(re.findall(r"(\w+)=", rule["resources"]))


LAUNCHED = [name for name, rule in ALL_RULES.items() if re.search(" (launch|finetune_runs) ", rule["shell"])]


def test_training_and_the_benchmark_are_launched():
    assert {"finetune", "benchmark"} <= set(LAUNCHED)


@pytest.mark.parametrize("name", LAUNCHED)
def test_ranks_use_the_cores_that_their_job_asks_for(name):
    """Inside a job that Slurm does not bind, a process sees all cores of the node."""
    assert ALL_RULES[name].keys() >= {"threads"}
    assert "--cpus {threads}" in ALL_RULES[name]["shell"]


def test_captions_are_there():
    named = {ROOT / "workflow" / "rules" / path for path in re.findall(r'caption="([^"]+)"', all_text())}
    assert named
    assert [str(path) for path in named if not path.resolve().is_file()] == []


def all_text() -> str:
    return "\n".join(file.read_text("utf-8") for file in RULES)


def test_the_catalog_file_says_how_to_use_the_workflow():
    catalog = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))
    assert catalog["usage"]["software-stack-deployment"]
    assert "report" in catalog["usage"]


def test_conda_installs_what_the_lock_pins():
    lock = (ROOT / "envs" / "requirements.lock").read_text("utf-8").splitlines()
    pins = [line for line in lock if line and not line.startswith("#")]
    assert any(pin.startswith("torch==") for pin in pins)
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==\S+", pin)] == []
    environment = yaml.safe_load((ROOT / "envs" / "dnatune.yaml").read_text("utf-8"))
    installed = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert installed == pins


@pytest.mark.parametrize("name", ["requirements", "site", "checks"])
def test_everything_asked_for_is_pinned(name):
    def names(file: str) -> set[str]:
        lines = (ROOT / "envs" / file).read_text("utf-8").splitlines()
        found = [re.match(r"[A-Za-z0-9._-]+", line) for line in lines if line and line[0] not in "#-"]
        return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found}

    asked = names(f"{name}.in")
    assert asked
    assert asked - names(f"{name}.lock") == set()
