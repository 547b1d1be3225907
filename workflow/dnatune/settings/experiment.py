"""The configuration: checked against the schema, defaults filled in, the grid of runs made from it."""

import dataclasses
import difflib
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dnatune import optimizers
from dnatune.data.simulation import SimulationSettings
from dnatune.data.tasks import Task, resolve_task
from dnatune.errors import ConfigurationError
from dnatune.files import read_json, write_json
from dnatune.settings import rate_grid
from dnatune.settings.validation import check, check_part, load_schema

#: What the option `--experiment` of a stage takes.
HELP = "the configuration: results/<name>/experiment.json, which the workflow writes, or a file for --configfile"
_RUN = re.compile(r"([^/]+)/([^/]+)/([^/]+)/seed([0-9]+)")
_TRIAL = re.compile(r"([^/]+)/([^/]+)/([^/]+)/rate([0-9.e+-]+)")


@dataclasses.dataclass(frozen=True)
class Run:
    """One cell of the grid."""

    model: str
    task: str
    optimizer: str
    seed: int

    @classmethod
    def of(cls, wildcards: Any) -> "Run":
        """Return the run that the wildcards of a rule name."""
        return cls(wildcards.model, wildcards.task, wildcards.optimizer, int(wildcards.seed))

    @property
    def path(self) -> str:
        """Return the run's part of every path: <model>/<task>/<optimizer>/seed<k>."""
        return f"{self.model}/{self.task}/{self.optimizer}/seed{self.seed}"


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A checked configuration with every default filled in.

    Attributes:
        settings: the whole configuration as plain maps and lists.
        tasks: the tasks by name, in configured order.
    """

    settings: dict[str, Any]
    tasks: dict[str, Task]

    @property
    def name(self) -> str:
        """Return the name of the results folder."""
        return self.settings["name"]

    @property
    def optimizers(self) -> list[str]:
        """Return the optimizers' names."""
        return list(self.settings["optimizers"])

    def task(self, name: str) -> Task:
        """Return a task.

        Raises:
            ConfigurationError: the configuration has none of that name.
        """
        return self.tasks[_known(name, self.tasks, "tasks")]

    def write(self, path: Path) -> None:
        """Write the configuration with its defaults, for the commands of the stages; `read` takes it."""
        if not path.is_file() or read_json(path) != self._as_read:
            write_json(path, self.settings)

    @property
    def _as_read(self) -> dict[str, Any]:
        return json.loads(json.dumps(self.settings))

    def refuse_change(self, path: Path) -> None:
        """Check, inside a job, that the configuration is the one with which the job was submitted.

        Args:
            path: what `write` wrote then.

        Raises:
            ConfigurationError: it is another one.
            DataError: the file is missing or damaged.
        """
        if read_json(path) != self._as_read:
            raise ConfigurationError(
                "the configuration has changed since this job was submitted",
                where=str(path),
                fix="start Snakemake again with the configuration that you want",
            )

    def settings_of_run(self, place: str) -> dict[str, Any]:
        """Return `finetune_settings` of the run at `<model>/<task>/<optimizer>/seed<k>`.

        Raises:
            ConfigurationError: the grid has no such run.
        """
        found = _RUN.fullmatch(place)
        run = Run(*found.groups()[:3], int(found[4])) if found else None
        if run not in self.runs():
            raise ConfigurationError(
                f"the grid has no run {place}", where="command line, --run", fix="name it MODEL/TASK/OPTIMIZER/seedK"
            )
        return self.finetune_settings(run)

    def settings_of_trial(self, place: str) -> dict[str, Any]:
        """Return `trial_settings` of the trial at `<model>/<task>/<optimizer>/rate<r>`.

        Raises:
            ConfigurationError: `tuning` has no such trial.
        """
        found = _TRIAL.fullmatch(place)
        known = self.tuned and found and found[3] in self.optimizers and found[1] in self.settings["models"]
        if not (known and found[2] in self.tasks and float(found[4]) in self.trial_rates(found[3])):
            raise ConfigurationError(
                f"'tuning' has no trial {place}",
                where="command line, --trial",
                fix="name it MODEL/TASK/OPTIMIZER/rateR, with a rate of 'tuning.rates'",
            )
        return self.trial_settings(*found.groups()[:3], float(found[4]))

    def runs(self) -> list[Run]:
        """Return the grid: models × tasks × optimizers × seeds."""
        s = self.settings
        return [Run(*cell) for cell in itertools.product(s["models"], self.tasks, s["optimizers"], s["seeds"])]

    def data_settings(self, task: str) -> dict[str, Any]:
        """Return what decides the CSV files of a task: {"source", "task", and the source's own settings}."""
        path = self.task(task).path
        if path is not None:
            return {"source": "directory", "task": task, "path": path, "own": True}
        source = self.settings["data"]["source"]
        return {"source": source, "task": task, **self.settings["data"][source]}

    def task_settings(self, task: str) -> dict[str, Any]:
        """Return all that a task is, its data apart."""
        chosen = self.task(task)
        return {
            "name": task,
            "labels": list(chosen.labels),
            "instruction": chosen.instruction,
            "metric": chosen.metric,
        }

    def prepare_settings(self, task: str) -> dict[str, Any]:
        """Return what decides the prepared records of a task."""
        chosen = self.task(task)
        return {"name": task, "labels": list(chosen.labels), "instruction": chosen.instruction}

    def evaluate_settings(self, task: str) -> dict[str, Any]:
        """Return what decides the scores of a merged model on a task."""
        evaluation = {key: value for key, value in self.settings["evaluation"].items() if key != "baselines"}
        return {
            **self._labels(task),
            **evaluation,
            "max_seq_length": self.settings["training"]["max_seq_length"],
        }

    def probe_settings(self, model: str, task: str) -> dict[str, Any]:
        """Return what decides the search for signs that a base model knows a task's test split."""
        return {
            "model": model,
            **self._labels(task),
            "items": self.settings["contamination"]["items"],
            "batch_size": self.settings["evaluation"]["batch_size"],
            "max_seq_length": self.settings["training"]["max_seq_length"],
        }

    def baselines(self, task: str) -> list[str]:
        """Return the baselines of a task; simulated data have the Bayes-optimal classifier too."""
        bayes = ["bayes"] if self.data_settings(task)["source"] == "simulated" else []
        return [*self.settings["evaluation"]["baselines"], *bayes]

    def baseline_settings(self, task: str, baseline: str) -> dict[str, Any]:
        """Return what decides a baseline."""
        _known(baseline, self.baselines(task), "evaluation.baselines")
        simulated = {"simulated": self.settings["data"]["simulated"]} if baseline == "bayes" else {}
        return {**self._labels(task), "baseline": baseline, **simulated}

    def compare_settings(self) -> dict[str, Any]:
        """Return what the report says beyond what is in the files it reads."""
        return {
            "name": self.settings["name"],
            "tasks": [self.task_settings(task) for task in self.tasks],
            "simulated": self.settings["data"]["source"] == "simulated",
            "comparison": self.settings["comparison"],
        }

    def result_settings(self) -> dict[str, Any]:
        """Return all that decides a result, but of the hub's repositories in use the revision.

        The manifests of the downloads name that, as the commit that it meant.
        """
        made = {key: value for key, value in self.settings.items() if key != "keep_merged"}
        made["models"] = {
            name: {**entry, "hub": _without_revision(entry["hub"])} if entry["source"] == "hub" else entry
            for name, entry in made["models"].items()
        }
        if any(self.data_settings(task)["source"] == "hub" for task in self.tasks):
            made["data"] = {**made["data"], "hub": _without_revision(made["data"]["hub"])}
        return made

    def benchmark_settings(self) -> dict[str, Any]:
        """Return what decides the speed comparison; its task is the first."""
        return {
            "task": self.prepare_settings(next(iter(self.tasks))),
            "benchmark": {key: value for key, value in self.settings["benchmark"].items() if key != "tokenizer"},
            "lora": self.settings["lora"],
            "training": self.settings["training"],
            "evaluation": {"batch_size": self.settings["evaluation"]["batch_size"]},
        }

    def _labels(self, task: str) -> dict[str, Any]:
        return {"task": task, "labels": list(self.task(task).labels)}

    def model_settings(self, model: str) -> dict[str, Any]:
        """Return what decides the base model; of a `tiny` one the task that its tokenizer is made for is part."""
        entry = self.settings["models"][_known(model, self.settings["models"], "models")]
        tiny = {"task": self.prepare_settings(next(iter(self.tasks)))} if entry["source"] == "tiny" else {}
        return {"source": entry["source"], **entry[entry["source"]], **tiny}

    @property
    def tuned(self) -> bool:
        """Return whether learning rates are chosen by trials."""
        return "tuning" in self.settings

    def trial_rates(self, optimizer: str) -> list[float]:
        """Return the learning rates that are tried for an optimizer."""
        tuning = self.settings["tuning"]
        return rate_grid.learning_rates(tuning["rates"][optimizer], tuning["trials"])

    def trial_settings(self, model: str, task: str, optimizer: str, rate: float) -> dict[str, Any]:
        """Return what decides one learning-rate trial, a run like those it is for but for what `tuning` says."""
        tuning = self.settings["tuning"]
        settings = self.finetune_settings(Run(model, task, optimizer, tuning["seed"]))
        settings["optimizer"]["hyperparameters"]["learning_rate"] = rate
        dev = {"dev_examples": tuning["dev_examples"], "evaluation_steps": rate_grid.ONLY_AT_THE_END}
        return {
            **settings,
            "budget": tuning.get("budget", settings["budget"]),
            "training": {**settings["training"], **dev},
        }

    def choose_settings(self, model: str, task: str, optimizer: str) -> dict[str, Any]:
        """Return what decides the choice among the trials of an optimizer."""
        tuning, metric = self.settings["tuning"], self.tasks[task].metric
        return {
            "model": model,
            "task": task,
            "optimizer": optimizer,
            "labels": list(self.tasks[task].labels),
            "metric": "dev_loss" if tuning["metric"] == "dev_loss" else f"dev_{metric}",
            "dev_examples": tuning["dev_examples"],
        }

    def finetune_settings(self, run: Run) -> dict[str, Any]:
        """Return what decides one run, all of it and nothing else; a tuned learning rate comes from its trials."""
        entry = dict(self.settings["optimizers"][run.optimizer])
        budget = entry.pop("budget")
        method = entry.pop("method")
        training = {key: entry.pop(key) for key in self.settings["training"]}
        return {
            "model": run.model,
            "task": self.prepare_settings(run.task),
            "seed": run.seed,
            "optimizer": {"name": run.optimizer, "method": method, "hyperparameters": entry},
            "budget": budget,
            "lora": self.settings["lora"],
            "training": training,
        }


def _known(name: str, names: Iterable[str], key: str) -> str:
    """Return a name that the configuration has.

    Raises:
        ConfigurationError: it has not.
    """
    known = list(names)
    if name not in known:
        raise ConfigurationError(
            f"'{name}' is not there", where=f"config key '{key}'", fix=f"name one of: {', '.join(known)}"
        )
    return name


def read(path: Path) -> Configuration:
    """Read a configuration that `Configuration.write` wrote, or one as Snakemake takes it.

    Raises:
        ConfigurationError: the file is missing or no configuration; see `resolve`.
    """
    try:
        text = path.read_text("utf-8")
        # YAML takes JSON's 1e-08 for text.
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"cannot be read: {error}", where=str(path), fix="give a configuration, or experiment.json of the results"
        ) from None
    if not isinstance(content, dict):
        raise ConfigurationError("it is not a map", where=str(path), fix="give a configuration")
    return resolve(content)


def _without_revision(repository: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in repository.items() if key != "revision"}


def resolve(config: Mapping[str, Any]) -> Configuration:
    """Check a configuration as Snakemake hands it over and fill in its defaults.

    Raises:
        ConfigurationError: names the key, what it may be and, for a misspelling, the nearest right one.
    """
    schema = load_schema("config")
    settings = check(config, schema)
    tasks = [resolve_task(entry) for entry in settings["tasks"]]
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ConfigurationError("a task is named twice", where="config key 'tasks'", fix="name each task once")
    for name, model in settings["models"].items():
        _need_map(model, model["source"], f"models.{name}")
        if model["source"] == "tiny":
            _check_tiny(model["tiny"], f"models.{name}.tiny")
    _check_tiny(settings["benchmark"], "benchmark")
    _check_data(settings["data"], tasks)
    if "tuning" in settings:
        rate_grid.check(settings["tuning"], settings["optimizers"], settings["seeds"])
    for name, entry in settings["optimizers"].items():
        settings["optimizers"][name] = _resolve_optimizer(name, entry, settings, schema)
    return Configuration(settings, {task.name: task for task in tasks})


def read_scalars(config: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `config` with numbers, truth values and nulls of the command line read as such.

    Snakemake leaves them as text inside the maps and lists of `--config`. Text from files stays text.

    Args:
        config: the whole configuration.
        given: the part that was given on the command line.
    """
    typed = dict(config)
    for key, value in given.items():
        below = config.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            typed[key] = read_scalars(below, value)
        else:
            typed[key] = _read_scalar(value)
    return typed


def _read_scalar(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _read_scalar(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_read_scalar(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        # YAML 1.1 takes 1e-4 for text.
        return float(value) if "e" in value.lower() else _scalar_of(value)
    except ValueError:
        return _scalar_of(value)


def _scalar_of(text: str) -> Any:
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return read if read is None or isinstance(read, bool | int | float) else text


def _check_tiny(tiny: dict[str, Any], where: str) -> None:
    if tiny["hidden_size"] % (2 * tiny["heads"]):
        raise ConfigurationError(
            f"hidden_size {tiny['hidden_size']} does not divide into {tiny['heads']} heads of even width",
            where=f"config key '{where}.hidden_size'",
            fix="choose a multiple of twice the number of heads",
        )
    if tiny["heads"] % tiny["key_value_heads"]:
        raise ConfigurationError(
            f"{tiny['heads']} heads do not share {tiny['key_value_heads']} key-value heads evenly",
            where=f"config key '{where}.key_value_heads'",
            fix="choose a divisor of the number of heads",
        )


def _check_data(data: dict[str, Any], tasks: list[Task]) -> None:
    _need_map(data, data["source"], "data")
    if data["source"] != "simulated":
        return
    simulated = SimulationSettings.from_mapping(data["simulated"])
    data["simulated"] = dataclasses.asdict(simulated)
    for task in tasks:
        if task.path is None and len(task.labels) != 2:
            raise ConfigurationError(
                f"simulated data have 2 classes and task '{task.name}' has {len(task.labels)}",
                where="config key 'data.source'",
                fix="take the task from the hub or a directory, or choose a promoter task",
            )


def _need_map(parent: dict[str, Any], source: str, where: str) -> None:
    if source not in parent:
        raise ConfigurationError(
            f"source is '{source}' and the map '{source}' is missing",
            where=f"config key '{where}.{source}'",
            fix=f"say where it comes from under '{where}.{source}', see config/README.md",
        )


def _resolve_optimizer(
    name: str, entry: dict[str, Any], settings: dict[str, Any], schema: dict[str, Any]
) -> dict[str, Any]:
    """Split an entry into method, budget, training overrides and hyperparameters; check each; join them again."""
    where = f"optimizers.{name}"
    entry = dict(entry)
    method = entry.pop("method", name)
    if not isinstance(method, str):
        raise ConfigurationError(
            f"{method!r} is not a method", where=f"config key '{where}.method'", fix="give the method's name"
        )
    budget = entry.pop("budget", settings["budget"])
    check_part({"budget": budget}, {"budget": schema["$defs"]["budget"]}, where, schema)
    training_keys = schema["$defs"]["training"]["properties"]
    overrides = {key: entry.pop(key) for key in list(entry) if key in training_keys}
    check_part(overrides, training_keys, where, schema)
    near = {
        key: close[0] for key in entry if (close := difflib.get_close_matches(key, training_keys, n=1, cutoff=0.85))
    }
    for key, meant in near.items():
        raise ConfigurationError(
            f"unknown key '{key}'", where=f"config key '{where}.{key}'", fix=f"did you mean '{meant}'?"
        )
    if "tuning" in settings:
        rates = rate_grid.learning_rates(settings["tuning"]["rates"][name], settings["tuning"]["trials"])
        hyperparameters = optimizers.validate(method, {**entry, "learning_rate": rates[0]}, where)
        del hyperparameters["learning_rate"]
    else:
        hyperparameters = optimizers.validate(method, entry, where)
    return {"method": method, "budget": budget, **settings["training"], **overrides, **hyperparameters}
