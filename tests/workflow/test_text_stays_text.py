"""Names, labels and paths come out as they went in, from the command line too, whatever letters they have."""

import json
import shutil
import subprocess

import pytest

from workflow_runs import PYTHON, ROOT, Workplace, run, small

TASK = {"name": "mine", "labels": ["no", "β 0"], "instruction": "α, or 1e3?"}


@pytest.fixture
def source(tmp_path):
    """A folder of CSV files as spreadsheets write them, with windows of 131,072 bases."""
    folder = tmp_path / "δ 'own' $data"
    folder.mkdir()
    window = "ACGTTGCA" * 16_384
    for split, first in (("train", "A"), ("dev", "C"), ("test", "G")):
        rows = [f"{first * (number + 1)}{window if number == 3 else 'ACCGTA'},{number % 2}" for number in range(6)]
        text = "\ufeff" + "\r\n".join(["sequence,label", *rows]) + "\r\n\r\n"
        (folder / f"{split}.csv").write_bytes(text.encode())
    return folder


def arguments(source):
    task = {**TASK, "path": str(source)}
    return ["--config", "name=2024", f"tasks={json.dumps([task], ensure_ascii=False)}", "--"]


def test_a_checkout_with_braces_and_a_run_named_by_a_number(tmp_path, source):
    checkout = tmp_path / "{check} {{out}} $HOME"
    for name in ("workflow", "envs", "profiles", "config"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "Snakefile", checkout / "Snakefile")
    workplace = Workplace(tmp_path / "run")
    records = "results/2024/prepare/mine/train.jsonl"
    command = workplace.command(small(), *arguments(source), records)
    command[command.index(ROOT / "Snakefile")] = checkout / "Snakefile"
    done = run(command, workplace.folder, {"DNATUNE_SITE": str(workplace.site), "PYTHONPATH": ""})
    assert done.code == 0, done.output
    assert "Error recording metadata" not in done.output
    written = [json.loads(line) for line in (workplace.folder / records).read_text("utf-8").splitlines()]
    assert {record["instruction"] for record in written} == {TASK["instruction"]}
    assert [record["output"] for record in written] == ["no", "β 0"] * 3
    assert len(written[3]["input"]) == 4 + 131_072


def test_a_locale_that_would_change_the_text_is_refused(tmp_path, source):
    made = subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", tmp_path / "en_US.ISO-8859-1"],
        capture_output=True,
        check=False,
    )
    if not (tmp_path / "en_US.ISO-8859-1").exists():
        pytest.skip(f"no locale of ISO-8859-1 can be made here: {made.stderr!r}")
    workplace = Workplace(tmp_path / "run")
    locale = {"LOCPATH": str(tmp_path), "LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": ""}
    command = workplace.command(small(), "--dry-run", *arguments(source))
    shell = [PYTHON, "-c", "import os, sys; os.execv(sys.argv[1], sys.argv[1:])", *command]
    done = run(shell, workplace.folder, {"DNATUNE_SITE": str(workplace.site), **locale})
    assert done.code != 0 and "the locale's encoding is iso8859-1" in done.output
    assert "PYTHONUTF8=1" in done.output and "Traceback" not in done.output
