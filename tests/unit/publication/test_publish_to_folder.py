"""Publication to a folder: what is sent, what is checked first, and what is never replaced."""

import errno
import json
import os
import shutil

import pytest
from huggingface_hub import ModelCard

from dnatune.data.integrity import check_model
from dnatune.errors import DataError, DnatuneError, ModelError, explained
from dnatune.evaluation.scored import Scored
from dnatune.files import folder_hashes, sha256_of_file
from dnatune.publication import folder
from dnatune.publication.bundle import Bundle, find
from dnatune.publication.errors import PublishError
from dnatune.training.record import Run
from finished_run import BASE_REPOSITORY, PLACE, diverge, renamed
from kills import kill_at_each_operation, kill_before
from workflow_runs import files_below


def test_it_lists_what_it_would_write_and_writes_nothing(results, tmp_path, run_stage, capsys):
    before = files_below(tmp_path)
    run_stage("--model", results / "merge" / PLACE, "--folder", tmp_path / "out")
    said = capsys.readouterr().out
    assert files_below(tmp_path) == before
    for name in ("model.safetensors", "config.json", "tokenizer.json", "run.json", "storage.json"):
        path = results / "merge" / PLACE / name
        assert f"{path.stat().st_size:,}  sha256 {sha256_of_file(path)}" in said
    assert "README.md" in said and "metrics.json" in said and "LICENSE.md" in said
    assert f"to: folder {tmp_path / 'out'}" in said and "add --execute" in said
    assert "licence: other (genes-1)" in said and "names of the machines that trained: n1" in said


def test_a_merged_model_arrives_whole(results, tmp_path, run_stage, capsys):
    out, merged = tmp_path / "out", results / "merge" / PLACE
    run_stage("--model", merged, "--folder", out, "--execute")
    assert sorted(files_below(out)) == sorted({*files_below(merged), "README.md", "metrics.json", "LICENSE.md"})
    for name in set(files_below(merged)) - {"manifest.json"}:
        assert (out / name).read_bytes() == (merged / name).read_bytes()
    # As any model that dnatune has made.
    check_model(out)
    card = ModelCard.load(out / "README.md")
    assert card.data.base_model == BASE_REPOSITORY and card.data.datasets == ["lab/GUE"]
    assert (card.data.license, card.data.license_name, card.data.license_link) == ("other", "genes-1", "LICENSE.md")
    assert f"Published to {out}" in capsys.readouterr().out
    modified = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    run_stage("--model", merged, "--folder", out, "--execute")
    assert "nothing was changed" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == modified


def test_an_adapter_arrives_as_peft_looks_for_it(results, tmp_path, run_stage):
    out, adapter = tmp_path / "out", results / "finetune" / PLACE / "adapter"
    run_stage("--model", adapter.parent, "--folder", out, "--execute")
    assert {"run.json", "README.md", "metrics.json", "manifest.json", "LICENSE.md"} <= set(files_below(out))
    weights = "adapter_model.safetensors"
    assert (out / weights).read_bytes() == (adapter / weights).read_bytes()
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (BASE_REPOSITORY, "a" * 40)
    card = ModelCard.load(out / "README.md")
    assert (card.data.library_name, card.data.base_model_relation) == ("peft", "adapter")


def refused(run_stage, kind, *words):
    with pytest.raises(DnatuneError) as caught:
        run_stage(*words)
    assert type(caught.value).__name__ == kind.__name__ and caught.value.where and caught.value.fix
    return str(caught.value)


@pytest.mark.parametrize(
    "file",
    [
        f"merge/{PLACE}/model.safetensors",
        f"merge/{PLACE}/generation_config.json",
        f"evaluate/{PLACE}/metrics.json",
        f"evaluate/{PLACE}/README.md",
        "download/models/tiny/LICENSE.md",
        "download/models/tiny/README.md",
    ],
)
@pytest.mark.parametrize("way", ["changed", "missing"])
def test_a_file_that_is_not_as_it_was_made_is_one_message(file, way, results, tmp_path, run_stage):
    path = results / file
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content) if way == "changed" else path.unlink()
    said = refused(
        run_stage, DataError, "--model", results / "merge" / PLACE, "--folder", tmp_path / "out", "--execute"
    )
    assert path.name in said
    assert not (tmp_path / "out").exists()


def test_a_diverged_run_has_nothing_to_publish(results, tmp_path, run_stage):
    diverge(results)
    for stage in ("merge", "finetune"):
        said = refused(run_stage, ModelError, "--model", results / stage / PLACE, "--folder", tmp_path / "out")
        assert "its training diverged" in said
    shutil.rmtree(results / "merge")
    said = refused(run_stage, ModelError, "--model", results / "merge" / PLACE, "--folder", tmp_path / "out")
    assert "its training diverged" in said


def test_a_merged_model_that_was_not_kept_is_named_with_what_to_do(results, tmp_path, run_stage):
    shutil.rmtree(results / "merge" / PLACE)
    said = refused(run_stage, ModelError, "--model", results / "merge" / PLACE, "--folder", tmp_path / "out")
    assert "was not kept" in said and "keep_merged: true" in said and str(results / "finetune" / PLACE) in said


def test_scores_of_another_run_are_refused(results, tmp_path, run_stage):
    run = Run.read(results / "merge" / PLACE / "run.json")
    merged = renamed(results, run.model_copy(update={"seed": 7}))
    scored = results / "evaluate" / f"{run.place[:-1]}7" / "scored.json"
    Scored.read(scored).model_copy(update={"made_from": {"run": "0" * 64}}).write(scored)
    said = refused(run_stage, ModelError, "--model", merged, "--folder", tmp_path / "out")
    assert "scores are of another run" in said
    scored.unlink()
    assert "no scores" in refused(run_stage, DataError, "--model", merged, "--folder", tmp_path / "out")


def foreign_folders(out, results):
    """Yield what a user may have at the target, each with what the message says of it."""
    merged = results / "merge" / PLACE
    yield "files", lambda: out.mkdir() or (out / "thesis.tex").write_text("…"), "did not publish"
    yield "a repository of git", lambda: (out / ".git").mkdir(parents=True) or (out / ".git/HEAD").touch(), "did not"
    yield "a merged model", lambda: shutil.copytree(merged, out), "did not publish"
    yield "a file", lambda: out.write_text("…"), "no folder"
    yield "a link", lambda: out.mkdir() or (out / "link").symlink_to("/nowhere"), "did not publish"


@pytest.mark.parametrize("number", range(5))
def test_a_folder_of_others_is_left_alone(number, results, tmp_path, run_stage):
    out = tmp_path / "out"
    name, make, phrase = list(foreign_folders(out, results))[number]
    make()
    before = files_below(tmp_path)
    words = ["--model", results / "merge" / PLACE, "--folder", out]
    assert phrase in refused(run_stage, PublishError, *words), name
    assert phrase in refused(run_stage, PublishError, *words, "--execute"), name
    assert files_below(tmp_path) == before


def test_what_was_changed_or_added_after_publication_is_left_alone(results, tmp_path, run_stage):
    out = tmp_path / "out"
    words = ["--model", results / "merge" / PLACE, "--folder", out, "--execute"]
    run_stage(*words)
    for name in ("notes.txt", ".hidden"):
        (out / name).touch()
        assert f"did not publish: {name}" in refused(run_stage, PublishError, *words)
        (out / name).unlink()
    card = (out / "README.md").read_text("utf-8")
    (out / "README.md").write_text(f"{card}\nOur lab\n", "utf-8")
    assert "changed there since they were published: README.md" in refused(run_stage, PublishError, *words)
    (out / "README.md").unlink()
    run_stage(*words)
    assert (out / "README.md").read_text("utf-8") == card


def test_another_run_is_not_put_in_its_place(results, tmp_path, run_stage):
    out, run = tmp_path / "out", Run.read(results / "merge" / PLACE / "run.json")
    run_stage("--model", results / "merge" / PLACE, "--folder", out, "--execute")
    merged = renamed(results, run.model_copy(update={"seed": 7}))
    said = refused(run_stage, PublishError, "--model", merged, "--folder", out, "--execute")
    assert f"another run is published there: {PLACE}" in said


@pytest.mark.parametrize("place", [".", "inside", ".."])
def test_the_results_are_no_target(place, results, run_stage):
    merged = results / "merge" / PLACE
    before = files_below(results)
    said = refused(run_stage, PublishError, "--model", merged, "--folder", merged / place, "--execute")
    assert "the model's own folder" in said
    assert files_below(results) == before


@pytest.mark.parametrize("earlier", [False, True], ids=["nothing there", "an earlier publication there"])
def test_whenever_it_is_killed_the_folder_is_whole(earlier, results, tmp_path):
    out, kept = tmp_path / "out/model", tmp_path / "kept"
    merged, adapter = results / "merge" / PLACE, results / "finetune" / PLACE
    bundles = []
    for number, model in enumerate((adapter, merged)):
        (tmp_path / str(number)).mkdir()
        bundles.append(Bundle.of(find(model, None), ".", tmp_path / str(number)))
    old, new = bundles
    folder.publish(old, kept)
    kills = 0

    def begin():
        shutil.rmtree(out.parent, ignore_errors=True)
        if earlier:
            shutil.copytree(kept, out)

    begin()
    for _ in kill_at_each_operation(lambda: folder.publish(new, out)):
        kills += 1
        before = old.hashes if earlier else {}
        found = folder_hashes(out) if out.exists() else {}
        assert found in ({k: v for k, v in one.items() if k != "manifest.json"} for one in (before, new.hashes))
        begin()
    assert kills > len(new.items)
    begin()
    # What a killed process has left goes with the next publication.
    assert not kill_before(len(new.items), lambda: folder.publish(new, out))
    assert folder.publish(new, out) and not folder.publish(new, out)
    assert [path.name for path in out.parent.iterdir()] == ["model"]


def test_a_full_disk_is_one_message_and_leaves_nothing(results, tmp_path, run_stage, monkeypatch):
    real, out = shutil.copyfile, tmp_path / "out/model"

    def copyfile(source, target):
        if "model.safetensors" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return real(source, target)

    monkeypatch.setattr(folder.shutil, "copyfile", copyfile)
    with pytest.raises(OSError) as caught:
        run_stage("--model", results / "merge" / PLACE, "--folder", out, "--execute")
    assert "make room" in explained(caught.value).fix
    assert list(out.parent.iterdir()) == []
