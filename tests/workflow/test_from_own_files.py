"""A user's own files, from the example of docs/your-own-data.md to the report, and the messages of a dry run."""

import csv
import gzip
import os
import random
import re

import pytest
import yaml

from one_message import assert_one_message, visible
from report_pages import section_of
from workflow_runs import ROOT, Workplace, merged, small

#: What makes the example small: a model of one layer and a few steps.
QUICK = {
    **{key: value for key, value in small().items() if key in ("budget", "lora", "training", "evaluation")},
    "models": {"tiny": {"tiny": {"hidden_size": 32, "layers": 1, "intermediate_size": 64, "vocabulary": 600}}},
    "budget": {"steps": 4},
    "evaluation": {"batch_size": 32, "baselines": ["kmers"]},
}


def example():
    page = (ROOT / "docs/your-own-data.md").read_text("utf-8")
    (text,) = re.findall(r"<!-- example -->\n```yaml\n(.*?)```\n<!-- end -->", page, re.DOTALL)
    return merged(yaml.safe_load(text), QUICK)


def fasta(count, seed, motif=""):
    dice = random.Random(seed)
    parts = [tuple("".join(dice.choices("ACGT", k=25)) for _ in range(2)) for _ in range(count)]
    return "".join(f">s{number}\n{left}{motif}{right}\n" for number, (left, right) in enumerate(parts))


@pytest.fixture
def workplace(tmp_path):
    """A folder with the files of the example."""
    (tmp_path / "background.fa").write_text(fasta(150, 1), "utf-8")
    (tmp_path / "enhancers.fa.gz").write_bytes(gzip.compress(fasta(150, 2, "TGACTCA").encode()))
    return Workplace(tmp_path)


def test_the_example_of_the_page_leads_to_a_report(workplace):
    workplace.complete(example())
    results = workplace.folder / "results/my-enhancers"
    audit = section_of((results / "report.html").read_text("utf-8"), "audit")
    assert "The examples come from background.fa, enhancers.fa.gz." in audit
    assert "so that none of 299 clusters of similar sequences (the largest has 2)" in audit
    assert "split background enhancer train 120 120 dev 15 15 test 15 15" in audit
    with (results / "download/data/enhancers/rows.tsv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["split"] == "test"]
    predictions = results / "evaluate/tiny/enhancers/adamw/seed0/predictions.tsv"
    with predictions.open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream, delimiter="\t")] == [row["id"] for row in rows]
    assert workplace.plan(example()).counts == {}
    # Other sequences in a file rerun what is made of them; the same ones written again do not.
    file = workplace.folder / "background.fa"
    later = file.stat().st_mtime + 100
    os.utime(file, (later, later))
    assert workplace.plan(example()).counts == {}
    file.write_text(fasta(150, 3), "utf-8")
    os.utime(file, (later + 100, later + 100))
    assert workplace.plan(example()).counts["download_data"] == 1


DRY = {
    "a folder of FASTA files": (
        {"name": "mine", "path": "."},
        ["train.csv, dev.csv, test.csv not found", "fasta: {background: background.fa, enhancers: enhancers.fa.gz}"],
    ),
    "a missing file": (
        {"name": "mine", "fasta": {"no": "background.fa", "yes": "enhancer.fa.gz"}},
        ["file not found", "did you mean enhancers.fa.gz?", "enhancer.fa.gz; config key 'tasks', entry 'mine'"],
    ),
    "other columns": (
        {"name": "mine", "table": {"path": "some.tsv"}},
        ["no column is called 'sequence', 'label'", "table: {path: some.tsv, sequence: bases, label: activity}"],
    ),
    "regions without a genome": (
        {"name": "mine", "bed": {"no": "a.bed", "yes": "b.bed"}},
        ["no genome", "'tasks.0.genome'", "genome: your-genome.fa.gz"],
    ),
    "no data": ("mine_too", ["'mine_too' is not a task of GUE", "docs/your-own-data.md"]),
    "GUE without data": ("prom_core_all", ["'data' is missing", "fasta: {one class: one.fa"]),
}


@pytest.mark.parametrize("case", DRY)
def test_a_dry_run_says_which_lines_would_work(workplace, case):
    task, phrases = DRY[case]
    rows = "".join(f"{activity}\tACGTACGTAC\n" for activity in ("high", "low") * 3)
    (workplace.folder / "some.tsv").write_text(f"activity\tbases\n{rows}", "utf-8")
    done = workplace.snakemake({**example(), "tasks": [task]}, "--dry-run")
    assert done.code != 0
    assert_one_message(done.output, "ConfigurationError", *phrases)
    assert not (workplace.folder / "results").exists()


def test_a_bad_letter_stops_the_download_and_leaves_nothing(workplace):
    (workplace.folder / "background.fa").write_text(fasta(150, 1) + ">rna\nACGUACGU\n", "utf-8")
    target = "results/my-enhancers/download/data/enhancers/train.csv"
    assert workplace.snakemake(example(), target).code != 0
    log = workplace.log("my-enhancers/download/data/enhancers")
    assert_one_message(log, "dnatune: DataError", "base 'U'", "background.fa, line 301 (rna)")
    assert visible(workplace.folder / "results") == ["my-enhancers/experiment.json"]
