"""The licence that a base model's card states, whatever a stranger has written into the card."""

import pytest
import yaml
from huggingface_hub import ModelCard

from dnatune.data.manifests import Manifest
from dnatune.evaluation.metrics import Metrics
from dnatune.report import licences
from dnatune.report.licences import Licence
from dnatune.report.model_card import model_card
from dnatune.training.record import Run
from merge_records import merge_record
from synthetic_results import Results

HUB = Manifest(source="hub", origin="lab/base", requested="main", revision="a" * 40, settings={}, files={}, large={})
HERE = Manifest(source="directory", origin="/home/me/b", requested=None, revision=None, settings={}, files={}, large={})
LINK = {"license": "other", "license_link": "LICENSE"}
ELSEWHERE = f"https://huggingface.co/lab/base/blob/{'a' * 40}/LICENSE"


def written(folder, stated):
    front = stated if isinstance(stated, str) else yaml.safe_dump(stated)
    (folder / "README.md").write_text(f"---\n{front}\n---\n# base\n", "utf-8")
    return folder


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ({"license": "mit"}, Licence("mit")),
        ({"license": ["mit", "apache-2.0"]}, Licence(["mit", "apache-2.0"])),
        ({"license": "other", "license_name": "genes-1"}, Licence("other", "genes-1")),
        ({"license": "other", "license_link": "https://genes.org/1"}, Licence("other", None, "https://genes.org/1")),
        (LINK, Licence("other", None, ELSEWHERE)),
        ({"license": 7}, None),
        ({"license": []}, None),
        ({"license": [7]}, None),
        ({"license": " "}, None),
        ({"tags": ["dna"]}, None),
        ("license: [mit", None),
        ("license: !!python/object/apply:os.system ['touch owned']", None),
        ("- license", None),
    ],
)
def test_what_a_card_states(stated, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Licence.of(written(tmp_path, stated), HUB) == found
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [None, b"", b"# base\n", b"\xff\xfe---\nlicense: mit\n---\n"])
def test_without_a_card_or_front_matter_none_is_known(content, tmp_path):
    if content is not None:
        (tmp_path / "README.md").write_bytes(content)
    assert Licence.of(tmp_path, HUB) is None


def test_a_link_to_a_file_stays_if_the_file_is_there_and_goes_if_it_is_nowhere(tmp_path):
    assert Licence.of(written(tmp_path, LINK), HERE) == Licence("other")
    (tmp_path / "LICENSE").write_text("You may.", "utf-8")
    for manifest in (HERE, HUB):
        assert Licence.of(tmp_path, manifest) == Licence("other", None, "LICENSE")


def test_licences_and_notices_are_found_and_nothing_else(tmp_path):
    wanted = ["LICENSE", "LICENSE.md", "license.txt", "NOTICE", "notice.txt"]
    for name in [*wanted, "README.md", "config.json", "license.json", "licensed.txt"]:
        (tmp_path / name).touch()
    assert [path.name for path in licences.files(tmp_path)] == sorted(wanted)


def test_the_card_states_it_and_names_no_path_of_this_machine(tmp_path):
    made = Results(tmp_path)
    made.add_run("adamw")
    run, metrics = Run.read(made.run_records[0]), Metrics.read(made.evaluations[0] / "metrics.json")
    stated = Licence("other", "genes-1", "https://genes.org/1")
    card = ModelCard(model_card(run, metrics, merge_record(), HERE, licence=stated))
    assert (card.data.license, card.data.license_name, card.data.license_link) == (
        "other",
        "genes-1",
        "https://genes.org/1",
    )
    assert "| base model | b (directory) |" in card.text and "/home" not in card.text
    assert "license" not in ModelCard(model_card(run, metrics, merge_record(), HERE)).data.to_dict()
