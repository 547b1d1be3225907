"""`training.deepspeed` counts by its keys, whether they stand in the configuration or in a file."""

import json

import pytest

from configurations import changed
from dnatune.errors import ConfigurationError
from dnatune.settings import experiment
from dnatune.settings.grid import Run

RUN = Run("tiny", "prom_core_all", "adamw", 0)
KEYS = {"zero_optimization": {"reduce_bucket_size": 1000}, "wall_clock_breakdown": False}


def compared(value, key="training.deepspeed"):
    return experiment.resolve(changed(key, value)).finetune_settings(RUN).compared()


@pytest.mark.parametrize("key", ["training.deepspeed", "optimizers.adamw.deepspeed"])
def test_a_file_is_its_content(tmp_path, key):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps(KEYS | {"zero_allow_untested_optimizer": None}), "utf-8")
    other.write_text(json.dumps(KEYS, indent=4), "utf-8")
    assert compared(str(one), key) == compared(str(other), key) == compared(KEYS, key)
    assert compared(KEYS, key)["training"]["deepspeed"] == KEYS
    other.write_text(json.dumps(KEYS | {"wall_clock_breakdown": True}), "utf-8")
    assert compared(str(one), key) != compared(str(other), key)


def test_what_is_written_down_for_the_jobs_needs_the_file_no_more(tmp_path):
    file, written = tmp_path / "keys.json", tmp_path / "experiment.json"
    file.write_text(json.dumps(KEYS | {"steps": None}), "utf-8")
    configuration = experiment.resolve(changed("training.deepspeed", str(file)))
    configuration.write(written)
    file.unlink()
    experiment.read(written).refuse_change(written)
    assert experiment.read(written).finetune_settings(RUN) == configuration.finetune_settings(RUN)


def test_a_job_stops_if_the_file_has_changed_since_it_was_submitted(tmp_path):
    file, written = tmp_path / "keys.json", tmp_path / "experiment.json"
    file.write_text(json.dumps(KEYS), "utf-8")
    experiment.resolve(changed("training.deepspeed", str(file))).write(written)
    file.write_text("{}", "utf-8")
    with pytest.raises(ConfigurationError, match="has changed since this job was submitted"):
        experiment.resolve(changed("training.deepspeed", str(file))).refuse_change(written)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "file not found"),
        ("{", "not valid JSON"),
        ("[]", "does not hold a map"),
        ('{"zero_optimization": {"round": NaN}}', "must be a finite number"),
        ('{"fp16": {"enabled": true}}', "'fp16.enabled' = true cannot be set here, because dnatune sets it"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start(tmp_path, content, told):
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content, "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        compared(str(file))
    assert told in caught.value.what
    assert "training.deepspeed" in caught.value.where or str(file) in caught.value.where


@pytest.mark.parametrize(
    ("keys", "where", "told"),
    [
        ({"optimizer": {"type": "Adam"}}, "optimizer", "dnatune sets it"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage", "dnatune sets it"),
        (
            {"zero_optimization": {"offload_optimizer": {"device": "nvme"}}},
            "zero_optimization.offload_optimizer.device",
            "NVMe",
        ),
    ],
)
def test_a_key_that_is_not_the_users_is_refused_at_the_start(keys, where, told):
    with pytest.raises(ConfigurationError, match=told) as caught:
        compared(keys)
    assert caught.value.where == f"config key 'training.deepspeed.{where}'"


def test_a_key_that_dnatune_owns_may_be_left_to_it():
    assert compared({"train_batch_size": "auto"})["training"]["deepspeed"] == {"train_batch_size": "auto"}
