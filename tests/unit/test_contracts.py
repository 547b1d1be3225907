"""Records between stages: what cannot be used ends in one error that names the file and the keys."""

import json
import math
import subprocess
import sys

import pydantic
import pytest

from contamination_found import known_base
from dnatune.data.manifests import Manifest
from dnatune.errors import DataError
from dnatune.evaluation import metrics
from dnatune.evaluation.contamination import Contamination
from dnatune.evaluation.metrics import Metrics
from dnatune.training.record import Run, adapter_of
from merge_records import merge_record
from run_records import run_record
from samples import ROOT

MANIFEST = Manifest(
    source="tiny", origin="a tiny Llama", requested=None, revision=None, settings={}, files={}, large={}
)
SAMPLES = [run_record(), metrics.from_predictions([0, 1], [0, 1], 2), known_base(), MANIFEST, merge_record()]


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_what_is_written_is_read(record, tmp_path):
    path = tmp_path / "record.json"
    record.write(path)
    assert type(record).read(path) == record
    # A newer version may have more keys.
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": None, "new": 1}))
    assert type(record).read(path) == record


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: type(record).__name__)
def test_every_missing_key_is_named(record, tmp_path):
    path = tmp_path / "record.json"
    for key in (name for name, field in type(record).model_fields.items() if field.is_required()):
        path.write_text(json.dumps({name: value for name, value in record.model_dump().items() if name != key}))
        with pytest.raises(DataError, match=f"missing: {key}") as caught:
            type(record).read(path)
        assert caught.value.where == str(path)


@pytest.mark.parametrize("text", ["", '{"status": "comp', "[]", '"run"', "3", "null", "\xff"])
def test_a_file_that_is_cut_or_no_map_is_refused(text, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(text, "latin-1")
    for model in (Run, Metrics, Contamination, Manifest):
        with pytest.raises(DataError, match="not a valid record"):
            model.read(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": "ten"}, "'steps' is 'ten': it should be a valid integer"),
        ({"steps": 1.5}, "'steps' is 1.5"),
        ({"wall_seconds": math.inf}, "'wall_seconds' is inf"),
        ({"precision": "fp8"}, "'precision' is 'fp8': it should be 'fp32', 'bf16' or 'fp16'"),
        ({"inputs": {"model": "a"}}, "missing: inputs.train"),
        ({"software": ["torch"]}, "'software' is ['torch']"),
        ({"status": "diverged"}, "'status' and 'diverged' contradict each other"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(changes, said, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**run_record().model_dump(), **changes}))
    with pytest.raises(DataError) as caught:
        Run.read(path)
    assert said in str(caught.value)


def test_a_record_with_an_unknown_key_is_not_made():
    with pytest.raises(pydantic.ValidationError):
        run_record(colour="red")


def test_merging_a_run_whose_adapter_is_gone_says_what_to_do(tmp_path):
    record = tmp_path / "run.json"
    run_record(outputs={"files": {"adapter/adapter_config.json": "0" * 64}, "large": {}}).write(record)
    command = [sys.executable, "-m", "dnatune", "merge", "--experiment", ROOT / "config/demo.yaml"]
    command += ["--model", tmp_path, "--record", record]
    done = subprocess.run(
        [*map(str, command), "--folder", str(tmp_path / "merged")], capture_output=True, text=True, check=False
    )
    assert done.returncode == DataError.exit_status
    assert str(adapter_of(record)) in done.stderr and f"delete {record}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "merged").exists()
