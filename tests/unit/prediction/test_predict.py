"""The stage: what it writes for a model, that a kill leaves no gap, and what it refuses."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import forked_python
from dnatune.commands import predict
from dnatune.errors import ConfigurationError, DataError, ModelError
from dnatune.prediction import columns, rows
from dnatune.prediction.record import Prediction
from dnatune.training.record import Divergence, Run
from merge_records import merge_record
from run_records import run_record
from samples import ROOT, TASK

_LABELS = TASK.labels


def run_stage(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, words)])
    predict.main()


def fasta_of(path, sequences):
    path.write_text("".join(f">s{number}\n{one}\n" for number, one in enumerate(sequences)), "utf-8")
    return path


def columns_of(table, prefix):
    return table[[f"{prefix}_{label}" for label in _LABELS]].to_numpy()


@pytest.fixture
def sequences(simulated_rows):
    found = [sequence for sequence, _ in simulated_rows[460:485]]
    # Of other lengths, and some that are not scored.
    return [*found[:5], found[5][:9], "N" * 70, *found[6:12], "ACGX", found[12] * 3, found[13] * 200, *found[14:]]


def test_every_format_has_the_same_rows(merged, prepared, sequences, tmp_path, monkeypatch):
    path = fasta_of(tmp_path / "s.fa", sequences)
    outputs = [tmp_path / f"made/p{ending}" for ending in (".tsv", ".tsv.gz", ".parquet", ".bedgraph")]
    outputs[0].parent.mkdir()
    dev = ["--dev", prepared / "dev.jsonl"]
    run_stage(monkeypatch, "--model", merged, "--input", path, *dev, "--output", *outputs)
    plain, compressed = (pd.read_csv(output, sep="\t") for output in outputs[:2])
    assert plain.equals(compressed)
    assert (
        pd.read_parquet(outputs[2])
        .fillna("")
        .astype(str)
        .equals(pd.read_csv(outputs[0], sep="\t", float_precision="round_trip").fillna("").astype(str))
    )
    scored = plain[plain.reason.isna()]
    assert sorted(set(range(len(sequences))) - set(scored.index)) == [6, 13, 15]
    assert "512 are the most" in plain.reason[15] and plain.predicted[15] != plain.predicted[15]
    probabilities, logs = columns_of(scored, "probability"), columns_of(scored, "logp")
    record = Prediction.read(tmp_path / "made/p.tsv.json")
    assert record.calibration.items == 60 and record.not_scored[plain.reason[6]] == 1
    powers = np.exp(logs / record.calibration.divisor)
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-6)
    assert list(scored.predicted) == [_LABELS[one] for one in logs.argmax(axis=1)]
    lines = outputs[3].read_text("utf-8").splitlines()
    assert lines[0].startswith("track type=bedGraph") and len(lines) == len(scored) + 1
    assert lines[1].split("\t")[:3] == ["s0", "0", "70"]
    assert float(lines[1].split("\t")[3]) == pytest.approx(plain[f"probability_{_LABELS[-1]}"][0], abs=1e-6)
    assert sorted(path.name for path in outputs[0].parent.iterdir()) == sorted(
        name for output in outputs for name in (output.name, f"{output.name}.json")
    )


def test_how_far_a_merged_folder_agrees_with_base_and_adapter_is_said(merged, sequences, tmp_path, monkeypatch, caplog):
    run, measured = Run.read(merged / "run.json"), merge_record()
    folder, path = tmp_path / "results/merge" / run.place, fasta_of(tmp_path / "s.fa", sequences[:2])
    shutil.copytree(merged, folder)
    stage = ["--model", folder, "--input", path, "--output", tmp_path / "p.tsv"]
    run_stage(monkeypatch, *stage)
    assert Prediction.read(tmp_path / "p.tsv.json").largest_difference is None and not caplog.text
    beside = tmp_path / "results/evaluate" / run.place
    beside.mkdir(parents=True)
    measured.write(beside / "merge.json")
    run_stage(monkeypatch, *stage)
    assert Prediction.read(tmp_path / "p.tsv.json").largest_difference == measured.largest_difference
    assert f"in bf16, was compared on the test split: {measured.sentence}" in caplog.text


def test_both_strands_have_the_mean_of_their_probabilities(merged, sequences, tmp_path, monkeypatch):
    path = fasta_of(tmp_path / "s.fa", sequences[:5])
    found = {}
    for strand in ("forward", "reverse", "both"):
        run_stage(monkeypatch, "--model", merged, "--input", path, "--strand", strand, "--output", tmp_path / "p.tsv")
        found[strand] = pd.read_csv(tmp_path / "p.tsv", sep="\t")
    assert Prediction.read(tmp_path / "p.tsv.json").calibration.reason == "there is no dev split"
    for kind in ("probability", "logp"):
        forward, reverse, both = (columns_of(found[name], kind) for name in ("forward", "reverse", "both"))
        if kind == "logp":
            forward, reverse, both = np.exp(forward), np.exp(reverse), np.exp(both)
        # The mean of the logarithms would be lower by a tenth; batches of other sizes round otherwise.
        assert np.abs(np.log(forward / reverse)).max() > 0.5
        np.testing.assert_allclose(both, (forward + reverse) / 2, rtol=1e-3)


def test_what_was_killed_goes_on_without_a_gap(merged, sequences, tmp_path, monkeypatch):
    path = fasta_of(tmp_path / "s.fa", sequences)
    stage = ["--model", merged, "--input", path, "--output"]
    script = [ROOT / "tests/support/cut_prediction.py", "4", "2"]
    command = [forked_python.interpreter(), *script, *stage, tmp_path / "cut.tsv"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "cut.tsv").exists()
    (kept,) = [one for one in (tmp_path / "cut.tsv.parts").iterdir() if one.is_dir()]
    assert sorted(one.name for one in kept.glob("*.parquet")) == ["00000000.parquet", "00000001.parquet"]
    monkeypatch.setattr(rows, "CHUNK", 4)
    scored = []
    prepare = columns.Columns.prepare
    monkeypatch.setattr(columns.Columns, "prepare", lambda *given: scored.append(given[1]) or prepare(*given))
    run_stage(monkeypatch, *stage, tmp_path / "cut.tsv")
    # The parts that were there are not scored again.
    assert len(scored) == len(range(8, len(sequences), 4)) and scored[0][0].fields[0] == "s8"
    assert not (tmp_path / "cut.tsv.parts").exists()
    run_stage(monkeypatch, *stage, tmp_path / "whole.tsv")
    assert (tmp_path / "cut.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    assert len((tmp_path / "cut.tsv").read_text("utf-8").splitlines()) == len(sequences) + 1


def test_parts_of_another_input_are_not_used(merged, sequences, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 4)
    path, output = fasta_of(tmp_path / "s.fa", sequences[:5]), tmp_path / "p.tsv"
    stage = ("--model", merged, "--input", path, "--output", output)

    def refuse(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("dnatune.prediction.outputs.write", refuse)
        run_stage(patched, *stage)
    assert [*(tmp_path / "p.tsv.parts").rglob("00000001.parquet")]
    fasta_of(path, sequences[7:11])
    run_stage(monkeypatch, *stage)
    assert len(pd.read_csv(output, sep="\t")) == 4


def test_two_ranks_write_what_one_does(merged, sequences, tmp_path):
    path = fasta_of(tmp_path / "s.fa", sequences)
    script = [ROOT / "tests/support/cut_prediction.py", "4", "-1", "--model", merged, "--input", path, "--output"]
    together = forked_python.stage("launch", "--ranks", "2", "--cpus", "2", *script, tmp_path / "two.tsv")
    for command in ([forked_python.interpreter(), *script, tmp_path / "one.tsv"], together):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.tsv").read_bytes() == (tmp_path / "one.tsv").read_bytes()
    assert not (tmp_path / "two.tsv.parts").exists()


def test_several_ranks_take_chunks_by_turns(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK", 4)
    assert [rows.rows_of_rank(30, index, 3) for index in range(3)] == [12, 10, 8]
    assert rows.rows_of_rank(30, 0, 1) == 30 and rows.rows_of_rank(3, 1, 2) == 0


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (["--task", "mouse_0"], ModelError, "answers the task 'prom_core_all', and not 'mouse_0'"),
        (["--class", "Promoter"], ConfigurationError, "'Promoter' is no label of the model"),
        (["--base", "."], ModelError, "is merged and needs no base"),
        (["--batch-size", "none"], ConfigurationError, "batch_size"),
        (["--strand", "left"], ConfigurationError, "strand"),
        (["--model", "."], ModelError, "no model that dnatune has tuned"),
    ],
)
def test_bad_options_are_refused(merged, sequences, tmp_path, monkeypatch, options, error, said):
    monkeypatch.chdir(tmp_path)
    path = fasta_of(tmp_path / "s.fa", sequences[:2])
    stage = ["--model", merged, "--input", path, "--output", "p.bedgraph"]
    with pytest.raises(error, match=said) as refusal:
        run_stage(monkeypatch, *stage, *options)
    assert refusal.value.where or refusal.value.fix


def test_a_table_may_not_name_columns_as_predictions(merged, tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("sequence,predicted\nACGT,x\n", "utf-8")
    stage = ["--model", merged, "--input", tmp_path / "t.csv", "--output"]
    with pytest.raises(DataError, match="'predicted' has the name of one that holds predictions"):
        run_stage(monkeypatch, *stage, tmp_path / "p.tsv")


def test_a_dev_split_of_another_task_is_refused(merged, prepared, sequences, tmp_path, monkeypatch):
    lines = [json.loads(line) for line in (prepared / "dev.jsonl").read_text("utf-8").splitlines()]
    path = fasta_of(tmp_path / "s.fa", sequences[:2])
    changes = (
        ({"instruction": "Is it?"}, ModelError, "asks another question"),
        (
            {"output": "enhancer"},
            DataError,
            "'enhancer' is no label of the task",
        ),
    )
    for change, error, said in changes:
        text = "".join(json.dumps(line | change) + "\n" for line in lines)
        (tmp_path / "dev.jsonl").write_text(text, "utf-8")
        with pytest.raises(error, match=said):
            stage = ("--model", merged, "--input", path, "--output", tmp_path / "p.tsv")
            run_stage(monkeypatch, *stage, "--dev", tmp_path / "dev.jsonl")


def test_a_diverged_run_and_an_adapter_without_its_base_are_refused(merged, tmp_path, monkeypatch):
    settings = json.loads((merged / "run.json").read_text("utf-8"))["settings"]
    stage = ["--model", tmp_path, "--input", tmp_path / "s.fa", "--output", tmp_path / "p.tsv"]
    diverged = Divergence(step=3, loss=None, gradient_norm=None, reason="the loss is not finite")
    run_record(diverged=diverged, settings=settings).write(tmp_path / "run.json")
    with pytest.raises(ModelError, match="its training diverged"):
        run_stage(monkeypatch, *stage)
    run_record(settings=settings).write(tmp_path / "run.json")
    with pytest.raises(ModelError, match="neither a merged model nor an adapter"):
        run_stage(monkeypatch, *stage)
    (tmp_path / "adapter").mkdir()
    with pytest.raises(ModelError, match="base model that the adapter belongs to is not there"):
        run_stage(monkeypatch, *stage)
