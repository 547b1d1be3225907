"""A disk that fills up, at any point of a stage: one message, nothing half, and the same command goes on with room."""

import json
import subprocess

import pytest

import forked_python
from dnatune.files import sha256_of_file
from workflow_runs import run, said, small

SHORT = {"budget": {"steps": 60}, "training": {"save_steps": 10}}


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, and a function that gives it another size in kilobytes."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def resize(kilobytes, remount="remount,"):
        options = f"{remount}size={kilobytes}k"
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )

    if resize(50_000, remount="").returncode:
        pytest.skip("this user may not mount a file system")
    yield folder, resize
    subprocess.run(["umount", "--lazy", folder], check=True)


def told(code, log):
    assert code == 6, log
    assert "Traceback" not in log and "could not be written: " in log and "df -h" in log


@pytest.mark.fault("a disk that fills up")
@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 100, 300, 500, 700, 900, 1100, 1300, 1500, 1800])
def test_training_on_a_full_disk_ends_in_one_message_and_goes_on_with_room(start, disk, tmp_path, kilobytes):
    folder, resize = disk
    whole = tmp_path / "whole"
    whole.mkdir()
    said(start(ranks=1, folder=whole, **SHORT))
    resize(kilobytes)
    process = start(ranks=1, folder=folder, **SHORT)
    log = "".join(process.communicate())
    if kilobytes <= 700:
        told(process.returncode, log)
        assert not (folder / "run.json").exists() and not (folder / "adapter").exists()
    resize(50_000)
    said(start(ranks=1, folder=folder, **SHORT))
    weights = [sha256_of_file(place / "adapter/adapter_model.safetensors") for place in (whole, folder)]
    assert weights[0] == weights[1]
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "completed"
    assert not (folder / "checkpoints").exists()


@pytest.mark.fault("a disk that fills up")
@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 100, 200, 300, 310, 320])
def test_merging_and_scoring_on_a_full_disk(start, disk, tmp_path, tiny_model, prepared, kilobytes):
    folder, resize = disk
    said(start(ranks=1, folder=tmp_path, **SHORT))
    experiment = tmp_path / "experiment.json"
    experiment.write_text(json.dumps(small(**SHORT)), "utf-8")
    shared = ["--experiment", experiment, "--model", tiny_model, "--record", tmp_path / "run.json"]
    names = ("predictions.tsv", "metrics.json", "merge.json")
    command = forked_python.stage("merge", *shared, "--folder", folder / "merged", "--then", "evaluate", *shared)
    command += ["--task", "prom_core_all", "--merged", folder / "merged", "--test", prepared / "test.jsonl"]
    options = ("--predictions", "--metrics", "--agreement")
    command += [word for option, name in zip(options, names, strict=True) for word in (option, folder / name)]
    resize(kilobytes)
    done = run(command, tmp_path)
    # There is no room for the merged model, or just enough for it and not for what follows.
    assert done.code or kilobytes > 100
    whole = {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}
    if done.code:
        told(done.code, done.output)
        # What has its name is whole: the merged model, if it is there, is the one that a disk with room gives.
        found = {
            file: sha256_of_file(folder / file) for file in whole if file.parts[0] == "merged" or file.name in names
        }
    else:
        found = {file: sha256_of_file(folder / file) for file in whole}
    resize(50_000)
    again = run(command, tmp_path)
    assert again.code == 0, again.output
    timed = ("metrics.json", "merge.json", "storage.json", "manifest.json")
    assert {file: sha256_of_file(folder / file) for file in found if file.name not in timed} == {
        file: digest for file, digest in found.items() if file.name not in timed
    }
    assert all((folder / name).is_file() for name in names)
