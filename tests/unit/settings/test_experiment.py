"""A configuration is understood whole or refused with the key, the reason and what to do."""

import pytest
import yaml

from configurations import DEMO, changed
from dnatune.errors import ConfigurationError
from dnatune.settings import command_line, experiment, json_schema, settings_file, tables
from dnatune.settings.experiment_file import Experiment
from dnatune.settings.grid import Run
from dnatune.settings.site_file import SiteFile
from dnatune.settings.training import Budget
from samples import ROOT

SHIPPED = sorted((ROOT / "config").glob("*.yaml"))


@pytest.mark.parametrize(
    ("path", "value", "where", "told"),
    [
        ("trainng", {}, "trainng", "did you mean 'training'?"),
        ("training.global_batchsize", 8, "training.global_batchsize", "did you mean 'global_batch_size'?"),
        ("training.global_batch_size", "128", "training.global_batch_size", "it must be of type integer"),
        ("training.global_batch_size", 0, "training.global_batch_size", "at least 1"),
        ("training.warmup_ratio", 3, "training.warmup_ratio", "at most 1"),
        ("training.schedule", "cosin", "training.schedule", "one of cosine"),
        ("training.precision", "fp8", "training.precision", "one of auto, fp32, bf16, fp16"),
        ("budget", {"epochs": 1, "steps": 5}, "budget", "exactly one of epochs, steps, gradient_evaluations"),
        ("budget", {}, "budget", "nothing given"),
        ("budget.epochs", 0, "budget.epochs", "more than 0"),
        ("seeds", [0, 0], "seeds", "twice"),
        ("seeds", [], "seeds", "empty"),
        ("name", "a/b", "name", "must match"),
        ("data.directory.path", "a/{b}", "data.directory.path", "Snakemake would read {"),
        ("tasks", ["prom_core_al"], "prom_core_al", "did you mean 'prom_core_all'?"),
        ("tasks", ["prom_core_all", "prom_core_all"], "tasks", "named twice"),
        ("tasks", [{"name": "mine", "labels": ["a", "b"]}], "mine", "instruction"),
        ("tasks", [{"name": "mine", "labels": ["a", "a"], "instruction": "i"}], "mine", "labels repeat"),
        ("tasks", ["splice_reconstructed"], "data.source", "2 classes"),
        ("data.source", "web", "data.source", "one of simulated, hub, directory"),
        ("data.source", "directory", "data.directory", "missing"),
        ("data.simulated", {"tran_size": 5}, "data.simulated.tran_size", "did you mean 'train_size'?"),
        ("models.tiny.source", "hub", "models.tiny.hub", "missing"),
        ("models.tiny.tiny", {"heads": 3}, "models.tiny.tiny.hidden_size", "multiple"),
        ("models", {}, "models", "at least one"),
        ("models.tiny.head", "classification", "models.tiny.head", "a Llama that is made to answer with label words"),
        ("models.tiny.head", "classifier", "models.tiny.head", "one of label_words, classification"),
        ("models.tiny.tiny", {"pretrain": {"tasks": ["prom"]}}, "models.tiny.tiny.pretrain.tasks", "not a task of GUE"),
        (
            "models.tiny.tiny",
            {"pretrain": {"tasks": [{"name": "prom_core_all", "path": "x"}]}},
            "models.tiny.tiny.pretrain.tasks",
            "give its name alone",
        ),
        ("models.tiny.prompt", {"wrapper": ["<dna>"]}, "models.tiny.prompt.wrapper", "too short"),
        ("models.tiny.prompt", {"answers": ["a b", "c"]}, "models.tiny.prompt.answers", "must match"),
        ("models.tiny.prompt", {"remainder": "left"}, "models.tiny.prompt.remainder", "pad_left"),
        ("optimizers.adamw.learning_rate", -1.0, "optimizers.adamw.learning_rate", "not a number > 0"),
        ("optimizers.adamw", {"weight_decay": 0.0}, "optimizers.adamw.learning_rate", "missing"),
        ("optimizers.adamw.learning_rte", 1.0, "optimizers.adamw.learning_rte", "did you mean 'learning_rate'?"),
        ("optimizers.adamw.warmup_ratoi", 0.1, "optimizers.adamw.warmup_ratoi", "did you mean 'warmup_ratio'?"),
        ("optimizers.adamw.warmup_ratio", 2, "optimizers.adamw.warmup_ratio", "at most 1"),
        ("optimizers.adamw.budget", {"steps": 1, "epochs": 1}, "optimizers.adamw.budget", "exactly one"),
        ("optimizers.adamv", {"learning_rate": 0.1}, "optimizers.adamv", "adamw"),
        ("optimizers.long", {"method": "rk5", "learning_rate": 0.1}, "optimizers.long", "rk4"),
        ("lora.rank", 2.5, "lora.rank", "of type integer"),
        ("lora.rank", 10**9, "lora.rank", "at most 100000"),
        ("models.tiny.tiny", {"hidden_size": 10**12}, "models.tiny.tiny.hidden_size", "at most 100000"),
        ("budget", {"epochs": 10**9}, "budget.epochs", "at most 1e+06"),
        ("training.ddp_timeout", 10**14, "training.ddp_timeout", "at most 1e+07"),
        ("tuning", {"trials": 10**9, "rates": {"adamw": [1, 2]}}, "tuning.trials", "at most 1000"),
        ("comparison.equivalence_margin", 1e-300, "comparison.equivalence_margin", "at least 1e-06"),
        ("comparison.level", 1 - 1e-16, "comparison.level", "at most 0.999999"),
        ("data.simulated.promoter_gc", 5e-324, "data.simulated.promoter_gc", "at least 1e-06"),
        ("tuning", {"trials": 2, "rates": {"adamw": [5e-324, 1]}}, "tuning.rates.adamw.0", "at least 1e-30"),
        ("seeds", list(range(1001)), "seeds", "at most 1000 items"),
        ("lora.target_modules", ["q_proj", "q_proj"], "lora.target_modules", "twice"),
        ("lora.target_modules", [""], "lora.target_modules.0", "empty"),
        ("name", "x" * 101, "name", "at most 100 letters"),
        ("name", True, "name", "of type string"),
        ("models", {"x" * 101: {"source": "tiny"}}, "models", "at most 100 letters"),
        ("tasks", [{"name": "mine", "labels": [" ", "b"], "instruction": "i"}], "tasks.0.labels.0", "blank"),
        ("tasks", [{"name": "mine", "labels": ["a ", "b"], "instruction": "i"}], "tasks.0.labels.0", "ends with"),
        ("tasks", [{"name": "mine", "labels": ["a\tb", "b"], "instruction": "i"}], "tasks.0.labels.0", "character"),
        ("tasks", [{"name": "mine", "labels": ["a", "b"], "instruction": " \n"}], "tasks.0.instruction", "blank"),
        ("data.directory", {"path": "a\nb"}, "data.directory.path", "character '\\n'"),
        ("data.directory", {"path": " "}, "data.directory.path", "blank"),
        ("optimizers.RMSprop", {"learning_rate": 1.0, "alpha": "1e-4"}, "optimizers.RMSprop.alpha", "write 1.0e-4"),
        ("optimizers.RMSprop", {"learning_rate": 1.0, "alpha": {}}, "optimizers.RMSprop.alpha", "give a number"),
        ("optimizers.x", {"method": "y" * 5000}, "optimizers.x.method", "is not a method"),
        ("evaluation.mode", "guess", "evaluation.mode", "one of labels, generate"),
    ],
)
def test_a_mistake_is_named(path, value, where, told):
    with pytest.raises(ConfigurationError) as caught:
        experiment.resolve(changed(path, value))
    assert where in caught.value.where
    assert told in str(caught.value)


def test_a_missing_key_is_named():
    config = {key: value for key, value in DEMO.items() if key != "models"}
    with pytest.raises(ConfigurationError, match="'models' is missing"):
        experiment.resolve(config)


def test_defaults_are_the_original_procedure():
    settings = experiment.resolve(yaml.safe_load((ROOT / "config/config.yaml").read_text())).settings
    assert settings["lora"] == {
        "rank": 8,
        "alpha": 32,
        "dropout": 0.06,
        "target_modules": ["q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "down_proj", "up_proj"],
        "modules_to_save": ["embed_tokens", "lm_head"],
    }
    training = settings["training"]
    original = {
        "global_batch_size": 2 * 8 * 8,
        # The original cuts a prompt at 512 tokens, label and all; here nothing is cut.
        "max_seq_length": "auto",
        "schedule": "cosine",
        "warmup_ratio": 0.03,
        "logging_steps": 10,
        "evaluation_steps": 20,
        "save_total_limit": 3,
        "zero_stage": 2,
        "ddp_timeout": 30000,
    }
    assert {key: training[key] for key in original} == original
    assert settings["optimizers"]["adamw"]["weight_decay"] == 0.01


def test_the_real_run_searches_all_rates_alike_with_the_original_s_among_them():
    found = experiment.resolve(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
    assert len(found.experiment.seeds) == 5
    assert found.experiment.comparison.reference == "adamw"
    places = {name: found.trials.places(name) + found.trials.fine_places(name) for name in found.optimizers}
    assert {len(place) for place in places.values()} == {7 + 3 * 2}
    assert 1e-4 in found.trials.rates("adamw")
    lowest, *_, highest = found.trials.rates("rk4_single_gradient")
    assert lowest < 5e-3 < highest


def test_only_the_real_run_asks_the_frozen_base_model_by_itself():
    real, demo = (yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("config", "demo"))
    found = experiment.resolve(real)
    assert found.frozen == [("dna-llama3", "prom_core_all")] and "frozen" in found.controls(*found.frozen[0])
    # The default is every other baseline, which need no model.
    default = [*experiment.resolve(demo).experiment.evaluation.baselines]
    assert default == [name for name in real["evaluation"]["baselines"] if name != "frozen"]


def test_an_entry_set_to_null_is_dropped():
    config = changed("optimizers.second", {"method": "adamw", "learning_rate": 0.1})
    config["optimizers"] = {name: config["optimizers"][name] for name in ("adamw", "second")}
    assert list(experiment.resolve(config).settings["optimizers"]) == ["adamw", "second"]
    config["optimizers"]["adamw"] = None
    assert list(experiment.resolve(config).settings["optimizers"]) == ["second"]


def test_an_optimizer_overrides_training_and_budget_for_itself_alone():
    config = changed("optimizers.long", {"method": "adamw", "learning_rate": 0.1, "warmup_ratio": 0.5})
    config["optimizers"]["long"]["budget"] = {"steps": 7}
    resolved = experiment.resolve(config)
    one, other = (resolved.finetune_settings(Run("tiny", "prom_core_all", name, 0)) for name in ("adamw", "long"))
    assert (one.training.warmup_ratio, other.training.warmup_ratio) == (0.03, 0.5)
    assert (one.budget, other.budget) == (Budget(epochs=1), Budget(steps=7))
    assert "warmup_ratio" not in other.optimizer.hyperparameters


def test_a_pretrained_model_depends_on_the_tasks_that_are_reported():
    pretrain = {"pretrain": {"steps": 3, "tasks": ["prom_core_all", {"name": "mouse_0", "path": "elsewhere"}]}}
    found = experiment.resolve(changed("models.tiny.tiny", pretrain))
    settings = found.model_settings("tiny")
    assert [task.name for task in settings.reported] == ["prom_core_all"] and settings.similarity == 0.5
    assert list(found.pretraining_tasks("tiny")) == ["prom_core_all", "mouse_0"]
    assert found.data_settings("mouse_0").directory.path == "elsewhere"
    assert found.data_settings("prom_core_all").source == "simulated"
    # What is written down is understood again.
    assert experiment.resolve(found.settings).settings == found.settings


def test_a_head_has_no_prompt():
    with pytest.raises(ConfigurationError, match="gets the sequence alone") as error:
        experiment.resolve(changed("models.encoder", ENCODER | {"prompt": {"template": "sequence"}}))
    assert error.value.where == "config key 'models.encoder.prompt'"


ENCODER = {"source": "hub", "hub": {"repo": "someone/encoder"}, "head": "classification"}


def test_an_encoder_cannot_write_text():
    with pytest.raises(ConfigurationError, match="model 'encoder' has a classification head") as error:
        experiment.resolve(changed("models.encoder", ENCODER) | {"evaluation": {"mode": "generate"}})
    assert error.value.where == "config key 'evaluation.mode'"


def test_the_head_of_a_model_is_a_setting_of_its_stages_and_of_no_other_model():
    configuration = experiment.resolve(changed("models.encoder", ENCODER))
    runs = {run.model: configuration.finetune_settings(run).compared() for run in configuration.runs()}
    assert runs["encoder"]["head"] == "classification"
    # What a causal model's results were made from says nothing new, so nothing is made again.
    assert "head" not in runs["tiny"]
    for model, head in (("encoder", "classification"), ("tiny", None)):
        assert configuration.model_settings(model).head == head
        assert configuration.probe_settings(model, "prom_core_all").head == head
    # Only a model that writes can be asked before it is fine-tuned.
    assert configuration.asked == [("tiny", "prom_core_all")]


def test_the_grid_is_the_product():
    config = changed("seeds", [0, 3])
    config["optimizers"]["sgd"] = {"learning_rate": 0.1}
    runs = experiment.resolve(config).runs()
    names = list(config["optimizers"])
    assert [(run.optimizer, run.seed) for run in runs] == [(name, seed) for name in names for seed in (0, 3)]
    assert runs[0].path == f"tiny/prom_core_all/{names[0]}/seed0"


MODELS = {"config": Experiment, "site": SiteFile}


@pytest.mark.parametrize("name", MODELS)
def test_every_key_has_unit_and_meaning(name):
    for key, _, unit, _, _, meaning in tables.rows(MODELS[name]):
        assert unit and meaning, key


@pytest.mark.parametrize("name", MODELS)
def test_the_page_shows_every_key(name):
    page = (ROOT / "config/README.md").read_text()
    for row in tables.rows(MODELS[name]):
        assert " | ".join(tables.markdown_cells(row)) in page, f"`make docs` writes the tables anew: {row[0]}"


@pytest.mark.parametrize("name", MODELS)
def test_the_schema_for_editors_is_that_of_the_models(name):
    written = (ROOT / f"workflow/schemas/{name}.schema.yaml").read_text("utf-8")
    assert written == json_schema.schema_text(MODELS[name], f"dnatune {name}"), "`make docs` writes the schemas anew"


def test_shipped_configurations_are_valid():
    assert {"config", "demo", "original"} <= {file.stem for file in SHIPPED}
    for file in SHIPPED:
        assert experiment.resolve(yaml.safe_load(file.read_text())).runs()


def test_what_is_written_down_of_a_configuration_configures_the_same():
    """So that configuration.yaml among the results can be run again."""
    for file in SHIPPED:
        settings = experiment.resolve(yaml.safe_load(file.read_text())).settings
        written = yaml.safe_load(yaml.safe_dump(settings))
        assert experiment.resolve(written).settings == settings, file.name


def test_scalars_of_the_command_line_are_read_and_text_of_files_is_not():
    config = {"lora": {"dropout": "0.5", "note": "7"}, "seeds": ["0", "1"], "budget": {"epochs": "null", "steps": "3"}}
    given = {"lora": {"dropout": "0.5"}, "seeds": ["0", "1"], "budget": {"epochs": "null", "steps": "3"}}
    assert command_line.read_scalars(config, given) == {
        "lora": {"dropout": 0.5, "note": "7"},
        "seeds": [0, 1],
        "budget": {"epochs": None, "steps": 3},
    }
    rates = {"optimizers": {"a": {"learning_rate": "1e-4", "nesterov": "true", "method": "sgd"}}}
    assert command_line.read_scalars(rates, rates) == {
        "optimizers": {"a": {"learning_rate": 1e-4, "nesterov": True, "method": "sgd"}}
    }
    words = {
        "name": "2024",
        "tasks": [{"instruction": "7", "labels": ["no", "yes", "0", "1e3", "null", "~"], "path": "1e3"}, "0"],
    }
    assert command_line.read_scalars(words, words) == words
    # null takes a text away where there may be none.
    none = {"comparison": {"reference": "null"}, "models": {"tiny": "null"}}
    assert command_line.read_scalars(none, none) == {"comparison": {"reference": None}, "models": {"tiny": None}}


def test_digits_are_text_where_a_text_is_due():
    """So YAML and Snakemake's command line hand on a run called 2024 and a label 0."""
    task = {"name": 7, "labels": [0, 1], "instruction": "Which?"}
    found = experiment.resolve({**DEMO, "name": 2024, "tasks": [task]})
    assert found.name == "2024" and found.tasks["7"].labels == ("0", "1")


@pytest.mark.parametrize("word", [False, True, 1.0])
def test_a_word_that_yaml_has_read_as_something_else_is_to_be_quoted(word):
    with pytest.raises(ConfigurationError) as caught:
        experiment.resolve({**DEMO, "tasks": [{"name": "a", "labels": [word, "b"], "instruction": "Which?"}]})
    assert "tasks.0.labels.0" in caught.value.where and "put the word in quotes" in caught.value.fix


@pytest.mark.parametrize(("text", "read"), [("010", 8), ("1:30", 90), ("-07", -7), ("0_1", 1)])
def test_a_number_that_yaml_reads_as_another_is_refused(tmp_path, text, read):
    (tmp_path / "a.yaml").write_text(f"name: a\nlabels: [b, {text}]\n", "utf-8")
    with pytest.raises(ConfigurationError, match=f"line 2: YAML reads {text} as {read}"):
        settings_file.read(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text(f"name: a\nlabels: [b, '{text}', 0, -1, 10, 1_000, 0x10]\n", "utf-8")
    assert settings_file.read(tmp_path / "a.yaml")["labels"] == ["b", text, 0, -1, 10, 1000, 16]


def test_the_demo_its_base_and_its_search_belong_together():
    names = ("demo", "demo-base", "demo-rates")
    demo, base, rates = (yaml.safe_load((ROOT / f"config/{name}.yaml").read_text("utf-8")) for name in names)
    # The base has left out relatives of the test split that the demo reports: one of the same size and simulator.
    simulated = [one["data"]["simulated"] for one in (demo, base)]
    assert {**simulated[0], "train_size": 0} == {**simulated[1], "train_size": 0} and demo["tasks"] == base["tasks"]
    searched = {key for key in demo if key not in ("name", "optimizers")}
    assert {key: demo[key] for key in searched} == {key: rates[key] for key in searched}
    for name, found in rates["optimizers"].items():
        assert {**found, "learning_rate": demo["optimizers"][name]["learning_rate"]} == demo["optimizers"][name]
    assert set(rates["optimizers"]) == set(demo["optimizers"]) == set(rates["tuning"]["rates"])
    assert rates["tuning"]["seed"] not in demo["seeds"]


def test_answers_are_enough_for_every_task_and_are_not_looked_for_in_texts():
    config = changed("models.tiny.prompt", {"answers": ["<a>", "<b>"]})
    experiment.resolve(config)
    three = {"tasks": ["splice_reconstructed"], "data": {"source": "hub"}}
    for change, said in ((three, "has 3 classes"), ({"evaluation": {"mode": "generate"}}, "labels' words")):
        with pytest.raises(ConfigurationError, match=said) as caught:
            experiment.resolve({**config, **change})
        assert caught.value.where == "config key 'models.tiny.prompt.answers'"


@pytest.mark.parametrize("place", ["training", "optimizers.adamw"])
def test_a_best_step_needs_dev_examples_to_choose_by(place):
    given = changed("name", "any")
    entry = given["training"] if place == "training" else given["optimizers"]["adamw"]
    entry |= {"keep": "best_dev", "dev_examples": 0}
    with pytest.raises(ConfigurationError, match="dev_examples is 0") as caught:
        experiment.resolve(given)
    assert caught.value.where == f"config key '{place}.keep'"


@pytest.mark.parametrize(("given", "most"), [("auto", None), (640, 640), (None, None)])
def test_the_data_decide_how_long_an_example_may_be_unless_a_number_does(given, most):
    found = experiment.resolve(changed("training", {} if given is None else {"max_seq_length": given}))
    (task,) = found.tasks
    settings = [found.evaluate_settings(task), found.probe_settings("tiny", task)]
    assert [one.most_tokens for one in settings] == [most, most]
    assert found.finetune_settings(found.runs()[0]).training.most_tokens == most
    # What is written down is understood again.
    assert type(settings[0]).read(settings[0].plain()) == settings[0]
