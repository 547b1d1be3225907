"""The digest of a stage's code: what belongs to it, and what does not."""

import shutil

import pytest

from dnatune import provenance
from samples import ROOT


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "workflow/scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "_LIBRARY", tmp_path / "scripts/dnatune")
    return tmp_path / "scripts"


@pytest.mark.parametrize(
    ("file", "belongs"),
    [
        ("finetune.py", True),
        ("dnatune/training.py", True),
        ("dnatune/attention.py", True),
        # Imported by name, when a method asks for it.
        ("dnatune/optimizers/runge_kutta.py", True),
        ("dnatune/report/words.py", False),
        ("dnatune/hub/transfer.py", False),
        ("evaluate.py", False),
    ],
)
def test_only_code_that_a_stage_runs_changes_its_digest(scripts, file, belongs):
    before = provenance.code_digest(scripts / "finetune.py")
    assert provenance.code_digest(scripts / "finetune.py") == before
    (scripts / file).write_text((scripts / file).read_text("utf-8") + "\n# Changed.\n", "utf-8")
    assert (provenance.code_digest(scripts / "finetune.py") != before) == belongs


def test_the_processor_has_a_name(monkeypatch, tmp_path):
    assert provenance.cpu_model()
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor\t: 0\nmodel name\t: Processor 9000 @ 3 GHz\nmodel name\t: another\n", "utf-8")
    monkeypatch.setattr(provenance, "Path", lambda _: listing)
    assert provenance.cpu_model() == "Processor 9000 @ 3 GHz"
