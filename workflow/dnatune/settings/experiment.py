"""The configuration, checked: the grid of runs and the settings of each stage that follow from it."""

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dnatune import optimizers
from dnatune.errors import ConfigurationError
from dnatune.files import read_json, write_json
from dnatune.settings import rate_grid
from dnatune.settings.base import Settings
from dnatune.settings.benchmark import BenchmarkSettings, TimedScoring
from dnatune.settings.experiment_file import Experiment, optimizer_entry
from dnatune.settings.grid import Run
from dnatune.settings.plan import PlannedOptimizer, PlanSettings
from dnatune.settings.scoring import (
    BaselineSettings,
    ComparedTask,
    CompareSettings,
    EvaluateSettings,
    Merge,
    ProbeSettings,
)
from dnatune.settings.sources import DataSettings, Folder, ModelSettings, TaskSettings
from dnatune.settings.tasks import Task, resolve_task
from dnatune.settings.training import FinetuneSettings, OptimizerEntry, OptimizerSettings, few_steps
from dnatune.settings.trials import Trials
from dnatune.settings.tuning import ChooseSettings

#: What the option `--experiment` of a stage takes.
HELP = "the configuration: results/<name>/experiment.json, which the workflow writes, or a file for --configfile"
_RUN = re.compile(r"([^/]+)/([^/]+)/([^/]+)/seed([0-9]+)")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A checked configuration with every default filled in.

    Attributes:
        experiment: what was configured.
        tasks: the tasks by name, in configured order.
        optimizers: the entries of `optimizers` by name, in configured order.
    """

    experiment: Experiment
    tasks: dict[str, Task]
    optimizers: dict[str, OptimizerEntry]

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The whole configuration as maps and lists, of which `resolve` makes the same again."""
        return self._as_configured(operational=True)

    def _as_configured(self, operational: bool) -> dict[str, Any]:
        """Return the whole as maps and lists, with or without what cannot change a result."""

        def part(settings: Settings) -> dict[str, Any]:
            return settings.plain() if operational else settings.compared()

        def flat(entry: OptimizerEntry) -> dict[str, Any]:
            parts = part(entry)
            return {"method": entry.method, "budget": parts["budget"], **parts["training"], **parts["hyperparameters"]}

        return part(self.experiment) | {"optimizers": {name: flat(entry) for name, entry in self.optimizers.items()}}

    @property
    def name(self) -> str:
        """Return the name of the results folder."""
        return self.experiment.name

    def task(self, name: str) -> Task:
        """Return a task.

        Raises:
            ConfigurationError: the configuration has none of that name.
        """
        return self.tasks[_known(name, self.tasks, "tasks")]

    def write(self, path: Path) -> bool:
        """Write the configuration with its defaults, for the commands of the stages; `read` takes it.

        Returns:
            Whether another configuration stood there.
        """
        known = path.is_file()
        if known and read_json(path) == self.settings:
            return False
        write_json(path, self.settings)
        return known

    def refuse_change(self, path: Path) -> None:
        """Check, inside a job, that the configuration is the one with which the job was submitted.

        Args:
            path: what `write` wrote then.

        Raises:
            ConfigurationError: it is another one.
            DataError: the file is missing or damaged.
        """
        if read_json(path) != self.settings:
            raise ConfigurationError(
                "the configuration has changed since this job was submitted",
                where=str(path),
                fix="start Snakemake again with the configuration that you want",
            )

    def settings_of_run(self, place: str) -> FinetuneSettings:
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

    def runs(self) -> list[Run]:
        """Return the grid: models × tasks × optimizers × seeds."""
        grid = itertools.product(self.experiment.models, self.tasks, self.optimizers, self.experiment.seeds)
        return [Run(*cell) for cell in grid]

    def cautions(self) -> list[str]:
        """Return what is to be said before anything runs: optimizers with a handful of steps, as far as is known."""
        found = []
        for name, entry in self.optimizers.items():
            steps = entry.budget.steps_of(optimizers.stages(entry.method, entry.hyperparameters))
            warning = few_steps(steps) if steps else None
            found += [f"optimizer '{name}': {warning}"] if warning else []
        return found

    def data_settings(self, task: str) -> DataSettings:
        """Return what decides the CSV files of a task."""
        path, data = self.task(task).path, self.experiment.data
        if path is not None:
            return DataSettings(source="directory", task=task, own=True, directory=Folder(path=path))
        return DataSettings(source=data.source, task=task, **{data.source: data.chosen})

    def prepare_settings(self, task: str) -> TaskSettings:
        """Return what decides the prepared records of a task."""
        chosen = self.task(task)
        return TaskSettings(name=task, labels=chosen.labels, instruction=chosen.instruction)

    def evaluate_settings(self, task: str) -> EvaluateSettings:
        """Return what decides the scores of a model on a task."""
        chosen = self.experiment.evaluation
        return EvaluateSettings(
            **self._labels(task),
            mode=chosen.mode,
            batch_size=chosen.batch_size,
            max_new_tokens=chosen.max_new_tokens,
            max_seq_length=self.experiment.training.max_seq_length,
            precision=self.experiment.training.precision,
        )

    def merge_settings(self) -> Merge:
        """Return what decides how merged models are stored."""
        return self.experiment.merge

    def probe_settings(self, model: str, task: str) -> ProbeSettings:
        """Return what decides the search for signs that a base model knows a task's test split."""
        return ProbeSettings(
            model=_known(model, self.experiment.models, "models"),
            **self._labels(task),
            items=self.experiment.contamination.items,
            batch_size=self.experiment.evaluation.batch_size,
            max_seq_length=self.experiment.training.max_seq_length,
        )

    @property
    def baselines(self) -> list[str]:
        """Return the baselines without a language model; simulated data have the Bayes-optimal classifier too."""
        bayes = ["bayes"] if self.experiment.data.source == "simulated" else []
        return [*(name for name in self.experiment.evaluation.baselines if name != "frozen"), *bayes]

    @property
    def frozen(self) -> list[tuple[str, str]]:
        """Return (model, task) of each baseline `frozen`."""
        asked = "frozen" in self.experiment.evaluation.baselines
        return list(itertools.product(self.experiment.models, self.tasks)) if asked else []

    def controls(self, model: str, task: str) -> dict[str, str]:
        """Return the folder below evaluate/ of each control of a model and task, by name.

        A control is a classifier without fine-tuning that knows no more than the runs; the Bayes optimum knows more.
        """
        folders = {name: f"baselines/{task}/{name}" for name in self.baselines if name != "bayes"}
        return folders | ({"frozen": f"frozen/{model}/{task}"} if (model, task) in self.frozen else {})

    def baseline_settings(self, task: str, names: Sequence[str] | None = None) -> BaselineSettings:
        """Return what decides the named baselines of a task, or all of them."""
        chosen = [_known(name, self.baselines, "evaluation.baselines") for name in names or self.baselines]
        simulated = "bayes" in chosen and self.data_settings(task).source == "simulated"
        return BaselineSettings(
            **self._labels(task),
            baselines=tuple(chosen),
            simulated=self.experiment.data.simulated if simulated else None,
        )

    def compare_settings(self) -> CompareSettings:
        """Return what the report says beyond what is in the files it reads."""
        return CompareSettings(
            name=self.experiment.name,
            tasks=tuple(
                ComparedTask(name=task.name, labels=task.labels, instruction=task.instruction, metric=task.metric)
                for task in self.tasks.values()
            ),
            simulated=self.experiment.data.source == "simulated",
            comparison=self.experiment.comparison,
        )

    def plan_settings(self, model: str, task: str) -> PlanSettings:
        """Return what decides the plan of a model and task."""
        return PlanSettings(
            model=_known(model, self.experiment.models, "models"),
            task=task,
            metric=self.task(task).metric,
            optimizers={
                name: PlannedOptimizer(**{key: getattr(entry, key) for key in PlannedOptimizer.model_fields})
                for name, entry in self.optimizers.items()
            },
            seeds=self.experiment.seeds,
            lora=self.experiment.lora,
            comparison=self.experiment.comparison,
            tuning=self.experiment.tuning,
        )

    def result_settings(self) -> dict[str, Any]:
        """Return the whole as maps and lists, but of the hub's repositories in use the revision.

        The manifests of the downloads name that, as the commit that it meant.
        """
        return self._without_revisions(self.settings)

    def compared(self) -> dict[str, Any]:
        """Return all that decides a result: `result_settings` without what reruns nothing."""
        return self._without_revisions(self._as_configured(operational=False))

    def _without_revisions(self, settings: dict[str, Any]) -> dict[str, Any]:
        made = dict(settings)
        made["models"] = {
            name: {**entry, "hub": _without_revision(entry["hub"])} if entry["source"] == "hub" else entry
            for name, entry in made["models"].items()
        }
        if any(self.data_settings(task).source == "hub" for task in self.tasks):
            made["data"] = {**made["data"], "hub": _without_revision(made["data"]["hub"])}
        return made

    def benchmark_settings(self) -> BenchmarkSettings:
        """Return what decides the speed comparison; its task is the first."""
        return BenchmarkSettings(
            task=self.prepare_settings(next(iter(self.tasks))),
            # The tokenizer is one of the files that the comparison reads.
            benchmark=self.experiment.benchmark.model_copy(update={"tokenizer": None}),
            lora=self.experiment.lora,
            training=self.experiment.training,
            evaluation=TimedScoring(batch_size=self.experiment.evaluation.batch_size),
        )

    def _labels(self, task: str) -> dict[str, Any]:
        return {"task": task, "labels": self.task(task).labels}

    def model_settings(self, model: str) -> ModelSettings:
        """Return what decides the base model; the tokenizer of a tiny one is made for the first task."""
        entry = self.experiment.models[_known(model, self.experiment.models, "models")]
        task = self.prepare_settings(next(iter(self.tasks))) if entry.source == "tiny" else None
        return ModelSettings(source=entry.source, task=task, **{entry.source: entry.chosen})

    @property
    def tuned(self) -> bool:
        """Return whether learning rates are chosen by trials."""
        return self.experiment.tuning is not None

    @functools.cached_property
    def trials(self) -> Trials:
        """Return the learning-rate trials.

        Raises:
            ConfigurationError: there is no `tuning`.
        """
        if not self.tuned:
            raise ConfigurationError("there are no trials", where="config key 'tuning'", fix="give the rates to try")
        return Trials(self.experiment.tuning, self.runs(), self.finetune_settings)

    def choose_settings(self, model: str, task: str, optimizer: str) -> ChooseSettings:
        """Return what decides the choice among the trials of an optimizer."""
        tuning, metric = self.experiment.tuning, self.task(task).metric
        return ChooseSettings(
            model=model,
            **self._labels(task),
            optimizer=optimizer,
            metric="dev_loss" if tuning.metric == "dev_loss" else f"dev_{metric}",
            dev_examples=tuning.dev_examples,
            seed=tuning.seed,
        )

    def finetune_settings(self, run: Run) -> FinetuneSettings:
        """Return what decides one run, all of it and nothing else; a tuned learning rate comes from its trials."""
        entry = self.optimizers[run.optimizer]
        return FinetuneSettings(
            model=run.model,
            task=self.prepare_settings(run.task),
            seed=run.seed,
            optimizer=OptimizerSettings(name=run.optimizer, method=entry.method, hyperparameters=entry.hyperparameters),
            budget=entry.budget,
            lora=self.experiment.lora,
            training=entry.training,
        )


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
    experiment = Experiment.read(config)
    tasks = [resolve_task(entry) for entry in experiment.tasks]
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ConfigurationError("a task is named twice", where="config key 'tasks'", fix="name each task once")
    if experiment.data.source == "simulated":
        _check_classes(tasks)
    if experiment.tuning:
        rate_grid.check(experiment.tuning, experiment.optimizers, experiment.seeds)
    if experiment.comparison.reference:
        _known(experiment.comparison.reference, experiment.optimizers, "comparison.reference")
    entries = {name: optimizer_entry(name, entry, experiment) for name, entry in experiment.optimizers.items()}
    if experiment.comparison.reference is not None:
        _known(experiment.comparison.reference, entries, "comparison.reference")
    return Configuration(experiment, {task.name: task for task in tasks}, entries)


def _check_classes(tasks: list[Task]) -> None:
    for task in tasks:
        if task.path is None and len(task.labels) != 2:
            raise ConfigurationError(
                f"simulated data have 2 classes and task '{task.name}' has {len(task.labels)}",
                where="config key 'data.source'",
                fix="take the task from the hub or a directory, or choose a promoter task",
            )
