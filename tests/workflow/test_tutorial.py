"""The second half of docs/tutorial.md, word by word: from a reader's FASTA files to the report and to predictions."""

import csv
import os
import re
import sys

import pytest

from workflow_runs import ROOT, run

PAGE = (ROOT / "docs/tutorial.md").read_text("utf-8")


def block_after(mark):
    return re.findall(rf"<!-- {mark} -->\n```\w*\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_own_sequences_lead_to_a_report_and_to_predictions(tmp_path, simulated_rows):
    for name in ("Snakefile", "config", "envs", "profiles", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    # What the demo leaves, but fewer sequences.
    data = tmp_path / "results/demo/download/data/prom_core_all"
    data.mkdir(parents=True)
    with (data / "train.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("sequence", "label"), *simulated_rows[:300]])
    (configuration,), (sequences,) = block_after("configuration"), block_after("new sequences")
    (tmp_path / "my.yaml").write_text(configuration, "utf-8")
    (tmp_path / "new.fa").write_text(sequences, "utf-8")

    two_files, check, whole, predict = block_after("commands: own")
    path = os.pathsep.join([f"{sys.prefix}/bin", os.environ["PATH"]])
    for command in (two_files, check, whole, predict):
        done = run(["bash", "-euo", "pipefail", "-c", command], tmp_path, {"DNATUNE_SITE": "generic", "PATH": path})
        assert done.code == 0, done.output
        assert (tmp_path / "results/my-promoters/report.html").exists() == (command in (whole, predict))

    with (tmp_path / "predictions.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["name"] for row in rows] == ["first", "second"]
    assert all(row["predicted"] in ("background", "promoter") for row in rows)
    assert sum(float(rows[0][f"probability_{label}"]) for label in ("background", "promoter")) > 0.999


def test_the_figures_of_the_demo_are_those_of_the_readme():
    """The tutorial reads the page of the demo to its reader; its numbers are measured, and stand in the README."""
    (row,) = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "command of `make demo`" in line]
    named = {word: number for word, number in re.findall(r"(Bayes optimum|control.*?|`adamw`) \.(\d{3})", row)}
    assert len(named) >= 3
    assert [number for number in re.findall(r"0\.(\d{3})\b", PAGE.split("## 4.")[0]) if number not in row] == []
