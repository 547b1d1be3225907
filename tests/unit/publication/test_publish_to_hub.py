"""Publication to a hub: the real client against a server on this machine, which takes uploads and has faults."""

import errno
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, snapshot_download
from huggingface_hub.utils import _http

from dnatune.data.hub.repository import Repository
from dnatune.data.integrity import check_model
from dnatune.errors import DnatuneError
from dnatune.files import sha256_of_file
from dnatune.publication.errors import PublishError
from dnatune.publication.refusals import explain_refusals
from dnatune.training.record import Run
from finished_run import PLACE, renamed
from hub_fixtures import TOKEN
from hub_fixtures import environment as environment
from hub_server import serve
from workflow_runs import files_below

NAME = "lab/promoters"


@pytest.fixture
def hub(monkeypatch):
    """A hub on which the token may write to the repositories of lab, as HF_ENDPOINT names it."""
    # The other way, through the hub's storage servers, needs a network.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda _: None))
    with serve() as running:
        running.uploads.writer = TOKEN
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def send(made, run_stage):
    """Return a function that publishes the merged model."""

    def sent(*words, model=None):
        run_stage("--model", model or made / "merge" / PLACE, "--repository", NAME, "--execute", *words)

    return sent


def files_on(hub, revision="main"):
    repository = hub.repositories["model", NAME]
    return repository.commits[repository.references[revision]]


def written(hub):
    return [request for request in hub.requests if request.method in ("POST", "PUT")]


def refused(send, *words, **named):
    with pytest.raises(DnatuneError) as caught:
        send(*words, **named)
    assert isinstance(caught.value, PublishError) and caught.value.where and caught.value.fix
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_without_execute_the_hub_is_not_asked(hub, made, run_stage, capfd):
    run_stage("--model", made / "merge" / PLACE, "--repository", NAME)
    assert f"to: private repository {NAME}, branch main, at {hub.endpoint}" in capfd.readouterr().out
    assert hub.requests == []


def test_a_repository_is_made_private_and_gets_every_file_in_one_commit(hub, made, send, tmp_path, capfd):
    send()
    repository = hub.repositories["model", NAME]
    assert repository.private and len(repository.commits) == 2
    assert repository.references["main"] in capfd.readouterr().out
    found = Path(snapshot_download(NAME, local_dir=tmp_path / "got", endpoint=hub.endpoint, token=TOKEN))
    merged = made / "merge" / PLACE
    assert sha256_of_file(found / "model.safetensors") == sha256_of_file(merged / "model.safetensors")
    assert set(files_on(hub)) == {*files_below(merged), "README.md", "metrics.json", "LICENSE.md", ".gitattributes"}
    assert f'folder = "{NAME}"' in (found / "README.md").read_text("utf-8")
    # As it comes from the hub, it is a model that dnatune takes.
    check_model(found)


def test_the_same_again_changes_nothing_and_says_so(hub, send, capfd):
    send()
    repository, before = hub.repositories["model", NAME], len(written(hub))
    send()
    assert "nothing was changed" in capfd.readouterr().out
    assert len(written(hub)) == before and len(repository.commits) == 2


def test_public_has_to_be_said(hub, send):
    send("--public")
    assert not hub.repositories["model", NAME].private
    assert "add --public" in refused(send)
    hub.repositories["model", NAME].private = True
    assert "leave --public out" in refused(send, "--public")


def test_an_upload_that_is_cut_leaves_nothing_and_is_gone_on_with(hub, made, send):
    hub.uploads.cut = 99
    said = refused(send)
    assert "cannot be reached, or the connection broke" in said and "same command again" in said
    assert set(files_on(hub)) == {".gitattributes"}
    hub.uploads.cut = 0
    send()
    assert "model.safetensors" in files_on(hub)


def test_what_has_arrived_is_not_sent_again(hub, made, send):
    hub.uploads.refused = {"/commit/": 503}
    assert "HTTP 503" in refused(send)
    received = hub.uploads.received
    assert received == (made / "merge" / PLACE / "model.safetensors").stat().st_size
    hub.uploads.refused = {}
    send()
    assert hub.uploads.received == received and "model.safetensors" in files_on(hub)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 413, 429, 500])
@pytest.mark.parametrize(
    "part", ["repos/create", "validate-yaml", "/preupload/", "/objects/batch", "upload/", "/commit/"]
)
def test_a_refusal_at_any_request_is_one_message(status, part, hub, send):
    hub.uploads.refused = {part: status}
    said = refused(send)
    if part == "validate-yaml" and status == 400:
        assert "front matter" in said
    elif part == "repos/create" and status == 409:
        assert "does not show it to this token" in said
    else:
        assert f"HTTP {status}" in said
    assert ("model", NAME) not in hub.repositories or set(files_on(hub)) == {".gitattributes"}


def test_a_hub_that_is_not_there_is_one_message(hub, send, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused(send)


def test_offline_is_one_message(hub, send, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(send)
    assert hub.requests == []


def test_without_a_token_nothing_is_asked(hub, send, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert "no access token" in refused(send)
    assert hub.requests == []


def test_a_token_of_another_owner_is_refused(hub, send):
    hub.uploads.owners = ("others",)
    said = refused(send)
    assert "may not write there (HTTP 403)" in said and "repositories of lab" in said


def test_a_faster_writer_is_not_overwritten(hub, send):
    send()
    del files_on(hub)["metrics.json"]
    hub.uploads.overtaken = True
    assert "changed at the same time (HTTP 412)" in refused(send)
    assert files_on(hub)["other.txt"] == b"faster"


def test_another_branch_leaves_main_alone(hub, send):
    send("--revision", "second")
    assert "model.safetensors" in files_on(hub, "second") and "model.safetensors" not in files_on(hub)


def test_another_content_than_was_sent_is_told(hub, send):
    hub.uploads.kept_instead = {"metrics.json": b"{}"}
    assert "metrics.json" in refused(send)


def test_a_repository_of_others_is_left_alone(hub, send):
    send()
    files_on(hub)["notes.txt"] = b"mine"
    assert "did not publish: notes.txt" in refused(send)
    del files_on(hub)["notes.txt"], files_on(hub)["manifest.json"]
    assert "did not publish" in refused(send)


def test_a_card_that_was_edited_on_the_hub_is_left_alone(hub, send):
    send()
    files_on(hub)["README.md"] += b"\nOur lab\n"
    assert "changed there since they were published: README.md" in refused(send)
    del files_on(hub)["README.md"]
    send()
    assert b"Our lab" not in files_on(hub)["README.md"]


def test_the_adapter_of_the_same_run_takes_the_place_of_the_merged_model(hub, made, send):
    send()
    send(model=made / "finetune" / PLACE)
    assert "adapter_model.safetensors" in files_on(hub) and "model.safetensors" not in files_on(hub)


def test_no_request_but_those_to_the_hub_has_the_token(hub, send):
    send()
    by_kind = {request.method: request for request in written(hub)}
    assert by_kind["POST"].headers["authorization"] == f"Bearer {TOKEN}"
    assert "authorization" not in by_kind["PUT"].headers
    assert not any(re.search(TOKEN, request.path) for request in hub.requests)


def test_another_run_is_not_put_in_its_place(hub, results, send):
    send()
    run = Run.read(results / "merge" / PLACE / "run.json")
    other = renamed(results, run.model_copy(update={"seed": 7}))
    assert f"another run is published there: {PLACE}, and not {run.place[:-1]}7" in refused(send, model=other)


def hidden(cause):
    """Return an error of the client behind which another one stands."""
    error = RuntimeError(f"Error while uploading, denied: {TOKEN}")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (ConnectionResetError(f"denied: {TOKEN}"), "the connection broke (ConnectionResetError)"),
        (hidden(TimeoutError(TOKEN)), "the connection broke (TimeoutError)"),
        (hidden(None), "the hub's client failed (RuntimeError)"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "model.safetensors"), "a file cannot be read: Input/output error"),
        (ValueError(f"Invalid metadata in README.md. {TOKEN}"), "front matter"),
        (KeyError(TOKEN), "the hub's client failed (KeyError)"),
    ],
)
def test_no_error_of_the_client_comes_through(error, phrase):
    with pytest.raises(PublishError) as caught, explain_refusals(Repository.checked(NAME, "model", "main", None, True)):
        raise error
    assert phrase in str(caught.value) and TOKEN not in str(caught.value)
    assert caught.value.__suppress_context__
