"""What the predict stage gives for the test split of a finished run, beside what the evaluate stage gives."""

import csv
import dataclasses
import itertools
from pathlib import Path

import numpy as np

import forked_python
from dnatune.prediction.record import Prediction
from workflow_runs import Finished, run

_LABELS = ("Non-promoter", "promoter")


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Log-probabilities of one model for one file, and the record beside them.

    Attributes:
        found: those of predict [items, classes].
        expected: those of evaluate [items, classes].
        record: what stands beside the output.
    """

    found: np.ndarray
    expected: np.ndarray
    record: Prediction


def write_fasta(table: Path, path: Path) -> Path:
    """Write the sequences of a CSV file as FASTA."""
    with table.open(encoding="utf-8", newline="") as stream:
        path.write_text(
            "".join(f">s{number}\n{row['sequence']}\n" for number, row in enumerate(csv.DictReader(stream))), "utf-8"
        )
    return path


def predict_test_split(results: Path, place: str, folder: Path) -> tuple[dict[tuple[str, str], Predicted], Finished]:
    """Predict the test split of a run of prom_core_all, as CSV and as FASTA, with base + adapter and with the merge.

    Args:
        results: the results folder.
        place: model, task, optimizer and seed.
        folder: to write into.

    Returns:
        What came out for ("trained" or "merged", "csv" or "fasta"), and the process.
    """
    table = results / "download/data/prom_core_all/test.csv"
    inputs = {"csv": table, "fasta": write_fasta(table, folder / "test.fa")}
    folders = {"trained": results / "finetune" / place, "merged": results / "merge" / place}
    outputs = {key: folder / f"{'-'.join(key)}.tsv" for key in itertools.product(folders, inputs)}
    stages = [
        ["predict", "--model", folders[model], "--input", inputs[kind], "--batch-size", "32", "--output", output]
        for (model, kind), output in outputs.items()
    ]
    # What evaluate gives for the merged folder, as for any model that is whole.
    stages.append(["evaluate", "--experiment", results / "experiment.json", "--task", "prom_core_all"])
    # The name says how the model is asked.
    stages[-1] += ["--name", place.split("/")[0], "--model", folders["merged"]]
    stages[-1] += ["--test", results / "prepare/prom_core_all/test.jsonl"]
    stages[-1] += ["--predictions", folder / "merged.tsv", "--metrics", folder / "metrics.json"]
    words = [word for stage in stages for word in ("--then", *stage)][1:]
    done = run(forked_python.stage(*words), folder, {"DNATUNE_DEVICE": "cpu"})
    assert done.code == 0, done.output
    expected = {"trained": results / "evaluate" / place / "predictions.tsv", "merged": folder / "merged.tsv"}
    names = [f"logp_{label}" for label in _LABELS]
    return {
        (model, kind): Predicted(
            _columns(output, names),
            _columns(expected[model], ["logp_0", "logp_1"]),
            Prediction.read(output.with_name(f"{output.name}.json")),
        )
        for (model, kind), output in outputs.items()
    }, done


def assert_predicted_as_evaluated(results: Path, place: str, folder: Path) -> None:
    """Check that predict and evaluate give one run the same log-probabilities."""
    predicted, _ = predict_test_split(results, place, folder)
    for key, one in predicted.items():
        np.testing.assert_allclose(one.found, one.expected, atol=1e-6, rtol=0, err_msg=str(key))
        assert len({*one.found[:, 0]}) > len(one.found) / 2 and one.record.not_scored == {}


def _columns(path: Path, names: list[str]) -> np.ndarray:
    with path.open(encoding="utf-8", newline="") as stream:
        return np.array([[float(row[name]) for name in names] for row in csv.DictReader(stream, delimiter="\t")])
