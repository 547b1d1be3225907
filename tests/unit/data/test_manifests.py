"""Where models and data came from: the commit in place of a branch, and one name for both at the next download."""

import pytest
import yaml

from dnatune.data import manifests
from dnatune.data.sources import download_data
from dnatune.errors import ConfigurationError, DataError
from dnatune.model.sources import download_model
from dnatune.settings.experiment import resolve
from dnatune.settings.sources import DataSettings, HubData, HubModel, ModelFolder, ModelSettings
from hub_fixtures import DATA, FIRST, MODEL, SECOND, fetch
from hub_fixtures import environment as environment
from hub_fixtures import server as server
from samples import make_tiny_model
from synthetic_results import PROMOTERS, SPLICE, Results

FETCHED = ModelSettings(source="hub", hub=HubModel(repo=MODEL))
CONFIGURATION = {
    "name": "mine",
    "models": {"fetched": {"source": "hub", "hub": {"repo": MODEL, "revision": "main"}}},
    "data": {"source": "hub", "hub": {"repo": DATA, "revision": "main"}},
    "tasks": ["prom_core_all", "splice_reconstructed"],
    "seeds": [0],
    "budget": {"epochs": 1},
    "optimizers": {"sgd": {"learning_rate": 0.1}},
}


@pytest.fixture
def made(tmp_path):
    """A model and two tasks of the hub, asked for as main."""
    results = Results(tmp_path, (PROMOTERS, {**SPLICE, "name": "splice_reconstructed"}))
    results.models = [results.add_origin("models", "fetched", "hub", MODEL, "main", FIRST).parent]
    for task in results.tasks:
        results.add_origin("data", task, "hub", DATA, "main", FIRST)
    return results


def read(results):
    return manifests.read(results.models, results.data, list(results.tasks))


def test_what_the_hub_sent_is_read_from_its_manifest(server, tmp_path):
    manifest = fetch(server, tmp_path / "models" / "fetched", "main")
    found = manifests.read([tmp_path / "models" / "fetched"], [], []).models["fetched"].manifest
    assert (found.source, found.origin, found.requested, found.revision) == ("hub", MODEL, "main", SECOND)
    assert manifest.requested == "main"


def test_a_revision_keeps_the_name_that_it_was_first_asked_for_by(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    model = make_tiny_model(tmp_path / "tiny", [("ACGT", 0), ("TTTT", 1)])
    server.repositories["model", MODEL].commits[FIRST] = {file.name: file.read_bytes() for file in model.iterdir()}
    download_model(FETCHED.at_revision(FIRST).asked_as("main"), None, tmp_path / "m")
    found = manifests.read([tmp_path / "m"], [], []).models["m"].manifest
    assert (found.requested, found.revision) == ("main", FIRST)
    settings = DataSettings(source="hub", task="t", hub=HubData(repo=DATA, revision=FIRST), requested="main")
    download_data(settings, tmp_path / "t")
    found = manifests.read([], [tmp_path / "t" / "manifest.json"], ["t"]).data["t"].manifest
    assert (found.requested, found.revision) == ("main", FIRST)


def test_a_branch_and_the_commit_that_it_meant_are_the_same_download(made):
    manifest = made.models[0] / "manifest.json"
    for revision in ("main", FIRST):
        assert manifests.name_at_download(FETCHED.at_revision(revision), manifest) == FETCHED


@pytest.mark.parametrize("other", [{"revision": "v2"}, {"revision": SECOND}, {"repo": "lab/other", "revision": FIRST}])
def test_another_revision_or_repository_is_another_download(made, other):
    settings = FETCHED.model_copy(update={"hub": FETCHED.hub.model_copy(update=other)})
    assert manifests.name_at_download(settings, made.models[0] / "manifest.json") == settings


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"origin": "lab/tiny", "revision": null}'])
def test_without_a_whole_manifest_a_download_is_what_is_configured(content, tmp_path):
    manifest = tmp_path / "manifest.json"
    if content is not None:
        manifest.write_text(content, "utf-8")
    assert manifests.name_at_download(FETCHED.at_revision(FIRST), manifest) == FETCHED.at_revision(FIRST)


def test_other_sources_have_no_revision_to_name(made):
    settings = ModelSettings(source="directory", directory=ModelFolder(path="base"))
    assert manifests.name_at_download(settings, made.models[0] / "manifest.json") == settings


def test_the_configuration_names_commits_and_else_is_the_one_that_was_given(made):
    configured = resolve(CONFIGURATION)
    written = manifests.pinned(configured.result_settings(), read(made))
    again = resolve(yaml.safe_load(yaml.safe_dump(written)))
    assert again.model_settings("fetched").hub.revision == FIRST
    assert again.data_settings("prom_core_all").hub.revision == FIRST
    assert again.result_settings() == configured.result_settings()
    assert configured.settings["models"]["fetched"]["hub"]["revision"] == "main"


def test_a_source_that_waits_keeps_its_revision():
    waiting = {**CONFIGURATION["data"], "source": "simulated"}
    settings = resolve({**CONFIGURATION, "data": waiting, "tasks": ["prom_core_all"]}).result_settings()
    assert settings["data"]["hub"]["revision"] == "main"
    assert "revision" not in settings["models"]["fetched"]["hub"]


def test_data_of_several_commits_keep_the_revision_that_was_asked_for(made):
    made.add_origin("data", "splice_reconstructed", "hub", DATA, "main", SECOND)
    found = read(made)
    assert found.data_commits == [FIRST, SECOND]
    written = manifests.pinned(resolve(CONFIGURATION).result_settings(), found)
    assert written["data"]["hub"]["revision"] == "main"
    assert written["models"]["fetched"]["hub"]["revision"] == FIRST


def test_a_configuration_of_other_results_is_refused(made):
    other = resolve({**CONFIGURATION, "models": {"fetched": {"source": "tiny", "tiny": {}}}}).result_settings()
    with pytest.raises(ConfigurationError, match=r"'models.fetched' does not take lab/tiny from the hub"):
        manifests.pinned(other, read(made))


def test_a_manifest_for_every_task_with_all_its_keys(made):
    with pytest.raises(ConfigurationError, match="1 manifests of 2 tasks"):
        manifests.read(made.models, made.data[:1], list(made.tasks))
    made.data[0].write_text('{"source": "hub"}', "utf-8")
    with pytest.raises(DataError, match="missing: files, large, origin, requested, revision, settings"):
        read(made)
