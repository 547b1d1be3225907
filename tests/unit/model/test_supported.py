"""Models that cannot be used are refused by their small files, with what can be used instead."""

import json
import shutil

import pytest

from dna_models import write_character_tokenizer, write_kmer_tokenizer, write_llama
from dnatune.data import hub
from dnatune.data.integrity import check_model
from dnatune.errors import ModelError
from dnatune.model import sources
from dnatune.model.base_models import load_tokenizer
from dnatune.model.supported import refuse_configuration, refuse_unsupported
from dnatune.settings.sources import ModelFolder, ModelSettings
from hub_fixtures import FIRST, MODEL, files_of, refused
from hub_fixtures import environment as environment
from hub_fixtures import server as server

#: config.json as some repositories have it, and words of the refusal.
_REFUSED = {
    "quantized": (
        {"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}},
        ["quantized (gptq, 4 bits)", "-GPTQ"],
    ),
    "bitsandbytes": (
        {"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
        ["quantized (bitsandbytes, 8 bits)"],
    ),
    "code": (
        {
            "model_type": "hyenadna",
            "auto_map": {
                "AutoConfig": "configuration_hyena.HyenaConfig",
                "AutoModelForCausalLM": "modeling_hyena.HyenaDNAForCausalLM",
            },
        },
        ["modeling_hyena.HyenaDNAForCausalLM", "runs no code that comes with a model", "GENERator, Carbon"],
    ),
    "code of a known type": (
        {"model_type": "llama", "auto_map": {"AutoModelForCausalLM": "modeling.OtherLlama"}},
        ["modeling.OtherLlama", "remove auto_map"],
    ),
    "unknown architecture": (
        {"model_type": "evo", "architectures": ["EvoForCausalLM"]},
        ["'evo' (EvoForCausalLM)", "docs/models.md"],
    ),
    "no type": ({}, ["None (none named)"]),
}


@pytest.mark.parametrize("name", _REFUSED)
def test_a_configuration_is_refused_in_words(tmp_path, name):
    content, said = _REFUSED[name]
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError) as caught:
        refuse_configuration(tmp_path / "config.json")
    assert all(words in str(caught.value) for words in said), str(caught.value)
    assert caught.value.where.startswith(str(tmp_path / "config.json")) and caught.value.fix


@pytest.mark.parametrize("name", _REFUSED)
def test_a_repository_is_refused_before_its_weights_are_fetched(server, tmp_path, name):
    content, said = _REFUSED[name]
    files_of(server)["config.json"] = json.dumps(content).encode()
    message = refused(ModelError, fetch_checked, server, tmp_path / "m")
    assert said[0] in message and MODEL in message
    assert server.of_file("config.json") and not server.of_file("model.safetensors")


def test_a_tokenizer_that_is_code_is_refused_before_the_weights_are_fetched(server, tmp_path):
    settings = {"tokenizer_class": "GeneTokenizer", "auto_map": {"AutoTokenizer": ["tokenizer.GeneTokenizer", None]}}
    files_of(server)["tokenizer_config.json"] = json.dumps(settings).encode()
    message = refused(ModelError, fetch_checked, server, tmp_path / "m")
    assert "GeneTokenizer" in message and MODEL in message and not server.of_file("model.safetensors")


def fetch_checked(server, destination):
    checks = {"check_before": refuse_unsupported, "check": sources.check_weights}
    return hub.fetch_model(MODEL, FIRST, destination, endpoint=server.endpoint, **checks)


def test_a_model_with_a_known_tokenizer_comes_from_the_hub(server, tmp_path):
    made = write_llama(write_kmer_tokenizer(tmp_path / "made"))
    files = {file.name: file.read_bytes() for file in made.iterdir()}
    server.repositories["model", MODEL].commits[FIRST] = files
    manifest = fetch_checked(server, tmp_path / "m")
    assert "vocab.txt" in manifest.files and "tokenizer.py" not in manifest.files
    assert check_model(tmp_path / "m") == manifest.digest


def test_a_folder_whose_vocabulary_is_in_no_file_is_taken(tmp_path):
    folder = write_llama(write_character_tokenizer(tmp_path / "made"))
    sources.download_model(
        ModelSettings(source="directory", directory=ModelFolder(path=str(folder))), None, tmp_path / "m"
    )
    assert load_tokenizer(tmp_path / "m")("ACGT").input_ids == [7, 8, 9, 10]


@pytest.mark.parametrize("name", ["quantized", "code", "unknown architecture"])
def test_a_folder_is_refused_too(tiny_model, tmp_path, name):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    content, said = _REFUSED[name]
    (folder / "config.json").write_text(json.dumps(content))
    settings = ModelSettings(source="directory", directory=ModelFolder(path=str(folder)))
    with pytest.raises(ModelError) as caught:
        sources.download_model(settings, None, tmp_path / "copy")
    assert said[0] in str(caught.value) and str(folder) in caught.value.where
    assert not (tmp_path / "copy").exists()
