"""Commands, markup and tokens in every text of the configuration: refused with the key, or known to be plain text."""

import copy
import itertools
import re

import pytest

from dnatune.errors import ConfigurationError
from dnatune.settings import experiment, json_schema
from dnatune.settings.experiment_file import Experiment
from hostile_text import ATTACK, FREE, PATH_ATTACK, PATHS, TOKEN
from mutations import bases


def text_keys():
    """Every key of the configuration's schema that may hold a text, as a dotted path; `*` stands for any name."""
    root = json_schema.schema_of(Experiment)

    def walk(part, path):
        for choice in json_schema.alternatives(part, root):
            if choice.get("type") == "string" or "const" in choice or "enum" in choice:
                yield path
            for key, below in choice.get("properties", {}).items():
                yield from walk(below, (*path, key))
            if values := json_schema.values_of(choice):
                yield (*path, "name of an entry")
                yield from walk(values, (*path, "*"))
            if "items" in choice:
                yield from walk(choice["items"], (*path, 0))

    # Maps whose keys the schema leaves open: what stands in them is a text too.
    free = [("optimizers", "*", "any"), ("training", "deepspeed", "any")]
    return sorted({".".join(map(str, path)) for path in [*walk(root, ()), *free]})


#: Entries that have the key, where the first has not.
ENTRIES = {"models.*.hub": "hub", "models.*.directory": "folder", "optimizers.*.any": "mine"}


#: A task's files of its own, by their kind.
OWN_FILES = {
    "fasta": {"fasta": {"no": "no.fa", "yes": "yes.fa"}},
    "bed": {"bed": {"no": "no.bed", "yes": "yes.bed"}, "genome": "genome.fa"},
    "table": {"table": {"path": "all.csv"}},
}
_OWN = re.compile(r"(?P<task>.*tasks)[.]0[.](?P<split>(dev|test)[.])?(?P<kind>fasta|bed|genome|width|table)\b.*")


def with_own_files(config, key):
    """The configuration with a task on files of its own, if a key is one of these."""
    found = _OWN.fullmatch(key)
    if not found:
        return config
    kind = "bed" if found["kind"] in ("genome", "width") else found["kind"]
    name = "mine" if found["task"] == "tasks" else "another"
    task = {"name": name, "labels": ["no", "yes"], **copy.deepcopy(OWN_FILES[kind])}
    if found["split"]:
        task[found["split"].rstrip(".")] = copy.deepcopy(OWN_FILES[kind])
    if found["task"] == "tasks":
        config["tasks"][0] = task
    else:
        config["models"][next(iter(config["models"]))] = {"source": "tiny", "tiny": {"pretrain": {"tasks": [task]}}}
    return config


def configured(key, value):
    """A configuration with one text replaced; what the way to it lacks is added."""
    config = with_own_files(copy.deepcopy(bases()[2]), key)
    chosen = next((name for start, name in ENTRIES.items() if key.startswith(start)), None)
    part, words = config, [0 if word == "0" else word for word in key.split(".")]
    for word, below in itertools.pairwise(words):
        word = (chosen or next(iter(part))) if word == "*" else word
        if isinstance(part, list):
            part[:] = part or [{}]
        elif not isinstance(part.get(word), list if below == 0 else dict):
            part[word] = ["prom_core_tata", "prom_300_all"] if below == 0 else {}
        if isinstance(part[word], str):
            part[word] = {"name": part[word]}
        part = part[word]
    match words[-1]:
        case "name of an entry":
            part[value] = copy.deepcopy(next(iter(part.values()), {}))
        case 0:
            part[:1] = [value]
        case last:
            part[next(iter(part)) if last == "*" else last] = value
    return config


@pytest.mark.parametrize("key", text_keys())
def test_an_attack_in_any_text_is_refused_with_the_key_or_is_a_free_text(key):
    try:
        found = experiment.resolve(configured(key, ATTACK))
    except ConfigurationError as error:
        assert key not in FREE
        assert "Error" not in error.what and error.fix
        last = key.split(".")[-1]
        assert last in ("0", "*", "name of an entry", "any") or last in str(error), str(error)
    else:
        assert key in FREE, f"{key} takes any text: let it be one, and add it to the chain of hostile texts"
        assert ATTACK in str(found.settings) or repr(ATTACK)[1:-1] in str(found.settings)


@pytest.mark.parametrize("key", sorted(PATHS))
def test_a_path_may_hold_anything_but_what_snakemake_fills_in(key):
    assert repr(PATH_ATTACK) in str(experiment.resolve(configured(key, PATH_ATTACK)).settings)
    for letter in "{}<>":
        with pytest.raises(ConfigurationError, match=f"Snakemake would read {letter} in a path"):
            experiment.resolve(configured(key, f"data {letter}"))


@pytest.mark.parametrize("key", text_keys())
def test_what_looks_like_a_token_is_refused_and_not_shown(key):
    with pytest.raises(ConfigurationError, match="looks like an access token") as caught:
        experiment.resolve(configured(key, TOKEN))
    assert TOKEN not in str(caught.value)


def test_the_walk_finds_the_texts_that_are_free():
    assert set(text_keys()) >= FREE | PATHS
    assert {"name", "tasks.0.labels.0", "models.*.hub.repo", "optimizers.name of an entry"} <= set(text_keys())
