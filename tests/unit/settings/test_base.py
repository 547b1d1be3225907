"""Models of settings: what they take, what they refuse and how, and what of them is compared."""

import json

import pytest

from configurations import changed
from dnatune.errors import ConfigurationError
from dnatune.settings import experiment
from dnatune.settings.base import Settings
from dnatune.settings.grid import Run
from dnatune.settings.training import Budget, FinetuneSettings, Lora, Training

PROMPT = {"wrapper": ["<dna>", "</dna>"], "remainder": "pad_left"}
RUN = Run("tiny", "prom_core_all", "adamw", 0)
#: What can change no result, each with another value.
OPERATIONAL = {
    "training.logging_steps": 3,
    "training.save_steps": 7,
    "training.save_total_limit": 1,
    "training.ddp_timeout": 60,
    "training.accept_code_change": True,
    "evaluation.batch_size": 16,
    "benchmark.patience": 1,
    "keep_merged": False,
}


@pytest.mark.parametrize("value", [1.5, 3.0, "3", True, [3]])
def test_nothing_but_an_integer_is_one(value):
    with pytest.raises(ConfigurationError, match="of type integer"):
        Lora.read({"rank": value})


@pytest.mark.parametrize("value", ["0.1", True, "1e-4", [0.1]])
def test_nothing_but_a_number_is_one(value):
    with pytest.raises(ConfigurationError, match="of type number"):
        Lora.read({"alpha": value})


@pytest.mark.parametrize("value", [1, "yes", "true", 0.0])
def test_nothing_but_a_truth_value_is_one(value):
    with pytest.raises(ConfigurationError, match="auto or it must be of type boolean"):
        Training.read({"gradient_checkpointing": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "path",
    [
        "training.warmup_ratio",
        "training.max_grad_norm",
        "lora.alpha",
        "comparison.level",
        "benchmark.patience",
        "data.simulated.promoter_gc",
        "training.deepspeed.zero_optimization.round",
        "optimizers.adamw.learning_rate",
        "optimizers.adamw.divergence_loss",
        "seeds",
    ],
)
def test_a_number_is_finite(path, value):
    with pytest.raises(ConfigurationError) as caught:
        experiment.resolve(changed(path, [value] if path == "seeds" else value))
    assert path in caught.value.where
    assert "must be a finite number" in caught.value.what


def test_a_whole_number_stays_one_and_a_null_is_no_value():
    assert Lora.read({"alpha": 32}).plain()["alpha"] == 32 and isinstance(Lora.read({"alpha": 32}).alpha, int)
    assert isinstance(Lora.read({"alpha": 32.0}).plain()["alpha"], float)
    assert Lora.read({"rank": None}) == Lora()
    assert Budget.read({"epochs": None, "steps": 3}).plain() == {"steps": 3}


def test_nothing_is_changed_afterwards():
    settings = experiment.resolve(changed("name", "mine")).finetune_settings(RUN)
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1


def test_an_alternative_that_is_wrong_is_named_with_all_others():
    with pytest.raises(ConfigurationError) as caught:
        experiment.resolve(changed("training.micro_batch_size", "many"))
    assert "'many' is not allowed: it must be auto or it must be of type integer" in caught.value.what
    assert "(unit: examples)" in caught.value.fix
    with pytest.raises(ConfigurationError, match="'5' is not a task of GUE"):
        experiment.resolve(changed("tasks", [5]))
    with pytest.raises(ConfigurationError, match="must match") as caught:
        experiment.resolve(changed("models", {"a/b": {"source": "tiny"}}))
    assert caught.value.where == "config key 'models.a/b'"


@pytest.mark.parametrize("key", OPERATIONAL)
def test_what_can_change_no_result_is_not_compared(key):
    before, after = (experiment.resolve(one) for one in (changed("seeds", [0]), changed(key, OPERATIONAL[key])))
    assert before.settings != after.settings
    assert before.compared() == {**after.compared(), "seeds": [0]}
    assert before.finetune_settings(RUN).compared() == after.finetune_settings(RUN).compared()
    for stage in ("evaluate_settings", "prepare_settings"):
        assert getattr(before, stage)(RUN.task).compared() == getattr(after, stage)(RUN.task).compared()
    probes = [one.probe_settings(RUN.model, RUN.task).compared() for one in (before, after)]
    assert probes[0] == probes[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.warmup_ratio", 0.5),
        ("lora.rank", 2),
        ("budget", {"steps": 3}),
        ("models.tiny.prompt", {"template": "sequence"}),
    ],
)
def test_what_may_change_a_result_is_compared(key, value):
    before, after = (experiment.resolve(one) for one in (changed("seeds", [0]), changed(key, value)))
    assert before.compared() != after.compared()
    if key != "budget":
        assert before.finetune_settings(RUN).compared() != after.finetune_settings(RUN).compared()


def test_the_prompt_decides_what_a_model_is_asked_and_not_what_is_downloaded():
    before, after = (experiment.resolve(one) for one in (changed("seeds", [0]), changed("models.tiny.prompt", PROMPT)))
    assert before.model_settings(RUN.model) == after.model_settings(RUN.model)
    assert after.finetune_settings(RUN).prompt == after.probe_settings(RUN.model, RUN.task).prompt is not None
    # Settings of runs that were made before there were prompts stay what they were.
    assert "prompt" not in json.dumps(before.finetune_settings(RUN).plain())


def test_the_batch_of_scoring_is_compared_where_it_is_timed():
    before, after = (experiment.resolve(changed("evaluation.batch_size", size)) for size in (16, 32))
    assert before.benchmark_settings().compared() != after.benchmark_settings().compared()


def models(model=Settings):
    return [below for one in model.__subclasses__() for below in (one, *models(one))]


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_every_field_says_what_it_is(model):
    for name, field in model.model_fields.items():
        assert field.description and field.json_schema_extra["unit"], name
        assert field.json_schema_extra["reruns"] in (True, False), name


def test_settings_of_a_stage_go_through_json_unchanged():
    settings = experiment.resolve(changed("training.deepspeed", {"a": {"b": [1, 2.5]}})).finetune_settings(RUN)
    assert FinetuneSettings.read(json.loads(json.dumps(settings.plain()))).plain() == settings.plain()
    with pytest.raises(ConfigurationError) as caught:
        FinetuneSettings.read({**settings.plain(), "sed": 1}, noun="run.json:")
    assert caught.value.where == "run.json: key 'sed'" and "did you mean 'seed'?" in caught.value.fix
