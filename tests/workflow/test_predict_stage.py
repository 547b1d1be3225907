"""Predictions with the run of a finished chain: by hand and as a target of the workflow."""

import numpy as np
import pytest

from dnatune.evaluation.agreement import Merge
from dnatune.prediction.record import Prediction
from predicted import predict_test_split, write_fasta
from workflow_runs import RUN, small


def test_predictions_are_those_of_evaluate(chain, tmp_path):
    place = RUN.removeprefix("finetune/")
    predicted, done = predict_test_split(chain.results, place, tmp_path)
    merge = Merge.read(chain.results / "evaluate" / place / "merge.json")
    for (model, _), one in predicted.items():
        # Nine significant digits stand in both files.
        np.testing.assert_allclose(one.found, one.expected, atol=1e-6, rtol=0)
        record = one.record
        assert record.merged == (model == "merged") and record.rows == 60 and record.not_scored == {}
        assert record.calibration.items == 40 and record.calibration.nats_after <= record.calibration.nats_before
        assert record.largest_difference == (merge.largest_difference if record.merged else None)
    assert merge.largest_difference is not None
    # Said of each of the two predictions with the merged model, and in its card.
    assert done.output.count(merge.sentence) == 2
    assert merge.sentence in (chain.results / "evaluate" / place / "README.md").read_text("utf-8")


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
        ({"input": "missing.fa"}, "config key 'predict.input'"),
        ({"input": "test.csv", "outputs": ["p.bedgraph"]}, "config key 'predict.outputs'"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_message(chain, predict, said):
    done = chain.snakemake(small(predict=predict), "predict", "--dry-run")
    assert done.code != 0 and said in done.output and "Traceback" not in done.output
