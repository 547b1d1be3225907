"""What was published answers as what was trained: by `predict`, and by the program in the card."""

import re
import runpy

import numpy as np
import pandas as pd
import pytest

import forked_python
from dnatune.data.integrity import MANIFEST
from dnatune.data.manifests import Manifest
from finished_run import PLACE, finished_run
from samples import TASK, make_tiny_model
from workflow_runs import run

COLUMNS = [f"logp_{label}" for label in TASK.labels]


@pytest.fixture(scope="module", params=["apart", "tied"])
def published(request, tmp_path_factory, simulated_rows):
    """The results of a run, and what was published of its merged model and of its adapter."""
    folder = tmp_path_factory.mktemp("used")
    model = make_tiny_model(folder / "model", simulated_rows, tied_embeddings=request.param == "tied")
    results = finished_run(folder / "results/any", model)
    words = []
    for stage in ("merge", "finetune"):
        words += ["--then", "publish", "--model", results / stage / PLACE, "--folder", folder / stage, "--execute"]
    done = run(forked_python.stage(*words[1:]), folder)
    assert done.code == 0, done.output
    return folder, results


def test_predictions_are_those_of_the_run(published, simulated_rows, tmp_path):
    folder, results = published
    sequences = [sequence for sequence, _ in simulated_rows[:20]]
    (tmp_path / "s.fa").write_text("".join(f">s{i}\n{one}\n" for i, one in enumerate(sequences)), "utf-8")
    base = results / "download/models/tiny"
    models = {
        "run": [results / "finetune" / PLACE],
        "merge": [folder / "merge"],
        "finetune": [folder / "finetune", "--base", base],
    }
    words = []
    for name, model in models.items():
        words += ["--then", "predict", "--model", *model, "--input", tmp_path / "s.fa"]
        words += ["--output", tmp_path / f"{name}.tsv"]
    done = run(forked_python.stage(*words[1:]), tmp_path, {"DNATUNE_DEVICE": "cpu"})
    assert done.code == 0, done.output
    expected, *found = (pd.read_csv(tmp_path / f"{name}.tsv", sep="\t")[COLUMNS].to_numpy() for name in models)
    assert np.ptp(expected[:, 0]) > 0.1
    for one in found:
        # Merged weights are rounded once to fp32.
        np.testing.assert_allclose(one, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("stage", ["merge", "finetune"])
def test_the_program_in_the_card_needs_no_dnatune(published, stage, tmp_path, monkeypatch, capsys):
    folder, results = published
    (program,) = re.findall(r"```python\n(.*?)```", (folder / stage / "README.md").read_text("utf-8"), re.DOTALL)
    assert "dnatune" not in program
    base = results / "download/models/tiny"
    origin = Manifest.read(base / MANIFEST)
    # The base model is on this disk, and not on the hub.
    program = program.replace(f'"{origin.origin}"', repr(str(base))).replace(f', revision="{origin.revision}"', "")
    (sequence,) = re.findall(r'^sequence = "(.*)"$', program, re.MULTILINE)
    (tmp_path / "card.py").write_text(program, "utf-8")
    (tmp_path / "s.fa").write_text(f">s\n{sequence}\n", "utf-8")
    words = ["predict", "--model", results / "finetune" / PLACE, "--input", tmp_path / "s.fa"]
    done = run(forked_python.stage(*words, "--output", tmp_path / "p.tsv"), tmp_path, {"DNATUNE_DEVICE": "cpu"})
    assert done.code == 0, done.output
    monkeypatch.chdir(folder / stage)
    runpy.run_path(str(tmp_path / "card.py"))
    found = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    expected = pd.read_csv(tmp_path / "p.tsv", sep="\t")[COLUMNS].to_numpy()[0]
    # fp32 sums in another order.
    assert [float(found[label]) for label in TASK.labels] == pytest.approx(expected.tolist(), abs=1e-4)
