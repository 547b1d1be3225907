"""The crate: rocrate reads it again, and it has what the profiles require, of every file the right hash."""

import hashlib
import json

import pytest
import yaml
from rocrate.rocrate import ROCrate

from compared_results import run_script
from synthetic_results import Results


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    results = Results(tmp_path_factory.mktemp("crate") / "results")
    results.add_run("adamw", 0)
    results.add_run("sgd", 0, diverged_at=4)
    results.add_origin("models", "tiny", "hub", "lab/model", "main", "1" * 40)
    done = run_script(results, results.root.parent)
    assert done.returncode == 0, done.stderr
    return results


@pytest.fixture(scope="module")
def crate(made):
    return ROCrate(made.root.parent)


def test_it_names_the_profiles_it_keeps(crate):
    assert crate.metadata["conformsTo"] == "https://w3id.org/ro/crate/1.1"
    assert crate.root_dataset["conformsTo"].id == "https://w3id.org/ro/wfrun/process/0.5"
    for key in ("name", "description", "datePublished", "license"):
        assert crate.root_dataset[key]


def test_the_program_has_the_commits_of_the_runs_and_the_packages(crate):
    program = crate.dereference("#dnatune")
    assert program.type == "SoftwareApplication"
    assert program["version"] == "f" * 40
    packages = {entity["name"]: entity["version"] for entity in program["softwareRequirements"]}
    assert packages["torch"].startswith("2.")


def test_every_file_is_there_with_its_hash_and_size(crate, made):
    files = [entity for entity in crate.data_entities if "File" in entity.type]
    assert {"report.html", "compare/comparison.tsv", "compare/tests.tsv", "compare/configuration.yaml"} <= {
        entity.id for entity in files
    }
    # Nine of the comparison and of its data, and four of each run.
    assert len(files) > 15
    for entity in files:
        content = (made.root.parent / entity.id).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest(), entity.id
        assert int(entity["contentSize"]) == len(content)


def test_every_run_is_an_action_and_a_diverged_one_failed(crate):
    actions = {entity.id: entity for entity in crate.get_by_type("CreateAction")}
    assert actions.keys() == {
        "#workflow-run",
        "#run/tiny/prom_core_all/adamw/seed0",
        "#run/tiny/prom_core_all/sgd/seed0",
    }
    assert {entity.id for entity in crate.root_dataset["mentions"]} == actions.keys()
    whole = actions["#workflow-run"]
    assert "compare/configuration.yaml" in {entity.id for entity in whole["object"]}
    assert "report.html" in {entity.id for entity in whole["result"]}
    completed, failed = actions["#run/tiny/prom_core_all/adamw/seed0"], actions["#run/tiny/prom_core_all/sgd/seed0"]
    assert completed["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert failed["actionStatus"] == "http://schema.org/FailedActionStatus"
    assert {action["instrument"].id for action in actions.values()} == {"#dnatune"}
    assert failed["error"] == "diverged at step 4: the loss is not finite"
    usage = {entity["propertyID"]: entity["value"] for entity in completed["resourceUsage"]}
    assert usage["gradient_evaluations"] == "60"
    assert usage["sha256_model"] == "0123456789abcdef"


def test_models_and_data_are_named_with_their_revision(crate):
    model, data = (crate.dereference(name) for name in ("#model/tiny", "#data/prom_core_all"))
    assert (model["identifier"], model["version"]) == ("lab/model@" + "1" * 40, "1" * 40)
    assert "revision asked for: main" in model["description"]
    assert data["identifier"] == "dnatune.data.simulation" and "version" not in data.properties()
    assert model["subjectOf"].id == "results/download/models/tiny/manifest.json"
    assert model["subjectOf"]["sha256"] and data["subjectOf"]["sha256"]
    actions = crate.get_by_type("CreateAction")
    assert len(actions) == 3
    for action in actions:
        assert {model.id, data.id} <= {entity.id for entity in action["object"]}


def test_the_configuration_names_the_commit(made):
    written = yaml.safe_load((made.root.parent / "compare/configuration.yaml").read_text("utf-8"))
    assert written["models"]["tiny"]["hub"] == {"repo": "lab/model", "revision": "1" * 40}
    # No data came from the hub, so no commit stands there.
    assert written["data"]["hub"]["revision"] == "main"


def test_every_reference_leads_somewhere(made):
    graph = json.loads((made.root.parent / "ro-crate-metadata.json").read_text("utf-8"))["@graph"]
    known = {entity["@id"] for entity in graph}
    assert len(known) == len(graph)

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if value.keys() == {"@id"} else []
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    outside = {target for entity in graph for target in references(entity)} - known
    # The profile of the crate is on the web.
    assert outside
    assert {target for target in outside if not target.startswith("http")} == set()


def test_a_file_elsewhere_is_refused(made, tmp_path):
    made_elsewhere = Results(tmp_path / "a" / "results")
    made_elsewhere.add_run("adamw")
    done = run_script(made_elsewhere, tmp_path / "elsewhere")
    assert done.returncode == 2
    assert "does not lie below" in done.stderr
    assert not (tmp_path / "elsewhere").exists()
