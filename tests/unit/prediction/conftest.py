"""A merged folder with random weights, which answers as a tuned one does."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from configurations import changed
from dnatune.settings import experiment
from dnatune.settings.grid import Run as Place
from run_records import run_record


@pytest.fixture(scope="session")
def merged(tiny_model, tmp_path_factory):
    """The folder of a merged model; as in a results folder, its run.json says what it is asked."""
    folder = tmp_path_factory.mktemp("merged") / "model"
    shutil.copytree(tiny_model, folder)
    # Random weights of that size answer every sequence nearly alike.
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 60
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    limited = experiment.resolve(changed("training.max_seq_length", 512))
    settings = limited.finetune_settings(Place("tiny", "prom_core_all", "adamw", 0))
    run_record(settings=settings.plain()).write(folder / "run.json")
    return folder
