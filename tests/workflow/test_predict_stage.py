"""Predictions with the run of a finished chain: by hand and as a target of the workflow."""

import csv
import itertools

import numpy as np
import pytest

from dnatune.prediction.record import Prediction
from workflow_runs import PYTHON, RUN, run, small

_LABELS = ("Non-promoter", "promoter")


def logs_of(path, columns):
    with path.open(encoding="utf-8", newline="") as stream:
        return np.array([[float(row[name]) for name in columns] for row in csv.DictReader(stream, delimiter="\t")])


def write_fasta(table, path):
    with table.open(encoding="utf-8", newline="") as stream:
        path.write_text(
            "".join(f">s{number}\n{row['sequence']}\n" for number, row in enumerate(csv.DictReader(stream))), "utf-8"
        )
    return path


def test_predictions_are_those_of_evaluate(chain, tmp_path):
    results, place = chain.results, RUN.removeprefix("finetune/")
    table = results / "download/data/prom_core_all/test.csv"
    inputs = {"csv": table, "fasta": write_fasta(table, tmp_path / "test.fa")}
    folders = {"trained": results / RUN, "merged": results / "merge" / place}
    stages = []
    for (model, folder), (kind, path) in itertools.product(folders.items(), inputs.items()):
        output = tmp_path / f"{model}-{kind}.tsv"
        stages.append(["predict", "--model", folder, "--input", path, "--batch-size", "32", "--output", output])
    # What evaluate gives for the merged folder, as for any model that is whole.
    stages.append(["evaluate", "--experiment", results / "experiment.json", "--task", "prom_core_all"])
    stages[-1] += ["--model", folders["merged"], "--test", results / "prepare/prom_core_all/test.jsonl"]
    stages[-1] += ["--predictions", tmp_path / "merged.tsv", "--metrics", tmp_path / "metrics.json"]
    words = [word for stage in stages for word in ("--then", *stage)][1:]
    done = run([PYTHON, "-m", "dnatune", *words], tmp_path, {"DNATUNE_DEVICE": "cpu"})
    assert done.code == 0, done.output
    expected = {"trained": results / "evaluate" / place / "predictions.tsv", "merged": tmp_path / "merged.tsv"}
    for model, kind in itertools.product(folders, inputs):
        found = logs_of(tmp_path / f"{model}-{kind}.tsv", [f"logp_{label}" for label in _LABELS])
        # Nine significant digits stand in both files.
        np.testing.assert_allclose(found, logs_of(expected[model], ["logp_0", "logp_1"]), atol=1e-6, rtol=0)
        record = Prediction.read(tmp_path / f"{model}-{kind}.tsv.json")
        assert record.merged == (model == "merged") and record.rows == 60 and record.not_scored == {}
        assert record.calibration.items == 40 and record.calibration.nats_after <= record.calibration.nats_before


def test_the_workflow_predicts_with_the_run_that_is_named_and_makes_nothing_again(copied_chain):
    write_fasta(copied_chain.results / "download/data/prom_core_all/test.csv", copied_chain.folder / "test.fa")
    configuration = small(
        predict={
            "input": "test.fa",
            "width": 40,
            "stride": 15,
            "strand": "both",
            "outputs": ["windows.tsv", "windows.bedgraph"],
        }
    )
    assert copied_chain.plan(configuration).counts == {}
    assert copied_chain.plan(configuration, "predict").counts == {"predict": 1}
    copied_chain.complete(configuration, "predict")
    folder = copied_chain.results / "predict"
    assert sorted(path.name for path in folder.iterdir()) == [
        "windows.bedgraph",
        "windows.bedgraph.json",
        "windows.tsv",
        "windows.tsv.json",
    ]
    assert len((folder / "windows.tsv").read_text("utf-8").splitlines()) == 1 + 60 * 3
    record = Prediction.read(folder / "windows.tsv.json")
    assert (record.model, record.merged, record.width, record.strand) == (
        RUN.removeprefix("finetune/"),
        False,
        40,
        "both",
    )
    assert copied_chain.plan(configuration, "predict").counts == {}
    other = small(predict={**configuration["predict"], "strand": "forward"})
    assert copied_chain.plan(other, "predict").counts == {"predict": 1}


@pytest.mark.parametrize(
    ("predict", "said"),
    [
        (None, "it does not say what to predict"),
        ({"input": "test.fa", "optimizer": "adam"}, "'adam' is not there"),
        ({"input": "test.fa", "outputs": []}, "outputs"),
        ({"input": "test.fa", "stride": 5}, "there are no windows"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_message(chain, predict, said):
    done = chain.snakemake(small(predict=predict), "predict", "--dry-run")
    assert done.code != 0 and said in done.output and "Traceback" not in done.output
