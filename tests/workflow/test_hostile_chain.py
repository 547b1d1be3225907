"""Commands, markup and a token go through the whole chain as text: nothing runs, and no token shows."""

import csv
import hashlib
import html.parser
import json
import random

import pytest

from hostile_text import ATTACK, PATH_ATTACK, TOKEN
from samples import make_tiny_model
from small_benchmark import SMALL
from workflow_runs import Workplace, run, small

#: Of what rows of a class consist.
SITES = ("", "TATAAAGG")


class Scripts(html.parser.HTMLParser):
    """Collects what a browser would run: elements `script` and attributes that begin with `on`."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found += [tag] if tag == "script" else []
        self.found += [name for name, _ in attributes if name.startswith("on")]


def rows(count, dice):
    for number in range(count):
        left, right = ("".join(dice.choices("ACGT", k=20)) for _ in range(2))
        yield f"{left}{SITES[number % 2]}{right}", number % 2


@pytest.fixture
def hostile(tmp_path):
    """A configuration with a hostile text at every key that takes one, on folders and files of such names."""
    dice, folder, base = random.Random(0), tmp_path / f"data {PATH_ATTACK}", tmp_path / f"model {PATH_ATTACK}"
    folder.mkdir(parents=True)
    for split, count in (("train", 120), ("dev", 30), ("test", 40)):
        lines = [f"{sequence},{label}" for sequence, label in rows(count, dice)]
        (folder / f"{split}.csv").write_text("\n".join(["sequence,label", *lines, ""]), "utf-8")
    make_tiny_model(base, list(rows(50, dice)))
    table, named = tmp_path / f"table {PATH_ATTACK}.csv", f"sequence {ATTACK}"
    with table.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(
            [(named, f"class {ATTACK}"), *((row, ("no", "yes")[one]) for row, one in rows(300, dice))]
        )
    seen = tmp_path / f"seen {PATH_ATTACK}"
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.write_text(hashlib.sha256(b"ACGT").hexdigest() + "\n")
    return small(
        models={"tiny": None, "base": {"source": "directory", "directory": {"path": str(base)}}},
        data={"directory": {"path": str(folder)}, "hub": {"revision": ATTACK}},
        tasks=[
            {"name": "mine", "path": str(folder), "labels": [ATTACK, "no"], "instruction": f"{ATTACK}\nWhich?"},
            {"name": "table", "table": {"path": str(table), "sequence": named, "label": f"class {ATTACK}"}},
        ],
        predict={"input": str(table), "column": named, "class": ATTACK, "outputs": ["all.tsv"]},
        optimizers={"wild": None},
        budget={"steps": 20},
        training={"deepspeed": {"any": ATTACK}},
        contamination={"manifest": str(seen)},
        benchmark={**SMALL, "tokenizer": str(base)},
    )


@pytest.mark.slow
def test_hostile_texts_go_through_the_whole_chain_as_texts(tmp_path, hostile):
    workplace = Workplace(tmp_path / "run")
    command = [*workplace.command(hostile), "--verbose", "--printshellcmds"]
    environment = {"DNATUNE_SITE": str(workplace.site), "PYTHONPATH": "", "HF_TOKEN": TOKEN}
    done = run([*command, "all", "benchmark", "predict"], workplace.folder, environment)
    assert done.code == 0, done.output[-3000:]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in tmp_path.rglob("*") if path.name == "pwned"]
    assert TOKEN not in done.output
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]
    page = (workplace.results / "report.html").read_text("utf-8")
    assert Scripts(page).found == ["script"] and "<script>pwn" not in page and "&lt;script&gt;pwn()" in page
    records = [path for path in files if path.suffix == ".json" and "results" in path.parts]
    assert len(records) > 10 and all(json.loads(path.read_text("utf-8")) is not None for path in records)
    audit = json.loads((workplace.results / "prepare/mine/audit.json").read_text("utf-8"))
    assert list(audit["classes"]["train"]) == [ATTACK, "no"]


@pytest.mark.parametrize("key", ["the common path", "the task's path"])
def test_a_dry_run_takes_hostile_paths(tmp_path, hostile, key):
    workplace = Workplace(tmp_path / "run")
    if key == "the common path":
        named = {**hostile["predict"], "class": "promoter"}
        data = {**hostile["data"], "source": "directory"}
        hostile = {**hostile, "data": data, "tasks": ["prom_core_all"], "predict": named}
    plan = workplace.plan(hostile, "--verbose", "all", "benchmark")
    assert plan.counts["prepare"] == plan.counts["finetune"] == len(hostile["tasks"])
    assert plan.counts["benchmark"] == 1
    assert not [path for path in tmp_path.rglob("*") if path.name == "pwned"]


def test_a_token_in_the_configuration_is_refused_and_not_shown(tmp_path):
    done = Workplace(tmp_path).snakemake(small(data={"hub": {"revision": TOKEN}}), "--dry-run", "--verbose")
    assert done.code != 0 and "looks like an access token" in done.output and TOKEN not in done.output
