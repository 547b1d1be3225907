"""Publication of the runs of a finished chain, as a user types it."""

import pytest
from huggingface_hub import ModelCard

import forked_python
from hub_server import serve
from one_message import assert_one_message
from workflow_runs import RUN, files_below, run

PLACE = RUN.removeprefix("finetune/")
TOKEN = "hf_" + "canary" * 5


def published(chain, *words, model, environment=None):
    command = forked_python.stage("publish", "--model", chain.results / model, *words)
    return run(command, chain.folder, environment)


def test_the_card_is_that_of_evaluate(chain, tmp_path):
    done = published(chain, "--folder", tmp_path / "out", "--execute", model=f"merge/{PLACE}")
    assert done.code == 0, done.output
    card = (chain.results / "evaluate" / PLACE / "README.md").read_text("utf-8")
    # The data were simulated, and are on no hub.
    assert (tmp_path / "out/README.md").read_text("utf-8") == card
    assert "licence: not known" in done.output
    again = published(chain, "--folder", tmp_path / "out", "--execute", model=f"merge/{PLACE}")
    assert "nothing was changed" in again.output


@pytest.mark.parametrize("model", [f"merge/{PLACE}", RUN])
def test_a_hub_gets_it_and_nobody_sees_the_token(model, chain, tmp_path):
    with serve() as hub:
        hub.uploads.writer = TOKEN
        environment = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
        }
        words = ["--repository", "lab/promoters", "--execute"]
        hub.uploads.refused = {"/commit/": 403}
        done = published(chain, *words, model=model, environment=environment)
        assert done.code == 7 and TOKEN not in done.output
        assert_one_message(done.output, "PublishError", "may not write there (HTTP 403)")
        hub.uploads.refused = {}
        done = published(chain, *words, model=model, environment=environment)
        assert done.code == 0 and TOKEN not in done.output, done.output
        repository = hub.repositories["model", "lab/promoters"]
        files = repository.commits[repository.references["main"]]
        assert repository.private and {"README.md", "metrics.json", "run.json", "manifest.json"} <= files.keys()
        assert [name for name, content in files.items() if TOKEN.encode() in content] == []
        (tmp_path / "README.md").write_bytes(files["README.md"])
        assert ModelCard.load(tmp_path / "README.md").data.model_name == PLACE
        assert not any(TOKEN.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_diverged_run_is_one_message(chain, tmp_path):
    for stage in ("merge", "finetune"):
        model = f"{stage}/{PLACE.replace('adamw', 'wild')}"
        done = published(chain, "--folder", tmp_path / "out", "--execute", model=model)
        assert done.code == 4
        assert_one_message(done.output, "ModelError", "there is no model: its training diverged")
    assert files_below(tmp_path) == []


def test_a_merged_model_that_was_not_kept_is_one_message_and_its_adapter_goes(sites_chain, tmp_path):
    (place,) = [path.parent for path in (sites_chain.results / "finetune").glob("tiny/sites/adamw/seed*/run.json")]
    merged = f"merge/{place.relative_to(sites_chain.results / 'finetune')}"
    done = published(sites_chain, "--folder", tmp_path / "out", "--execute", model=merged)
    assert_one_message(done.output, "ModelError", "was not kept", "keep_merged: true", str(place))
    done = published(sites_chain, "--folder", tmp_path / "out", "--execute", model=place)
    assert done.code == 0, done.output
    assert (tmp_path / "out/adapter_model.safetensors").is_file()
