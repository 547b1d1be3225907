"""The configuration: checked, with its defaults filled in, written down and read again."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dnatune import optimizers
from dnatune.errors import ConfigurationError
from dnatune.files import read_json, write_json
from dnatune.settings import rate_grid, settings_file
from dnatune.settings.base import Settings
from dnatune.settings.experiment_file import Experiment, optimizer_entry
from dnatune.settings.own_data import in_yaml
from dnatune.settings.sources import DataEntry, TaskEntry
from dnatune.settings.stage_settings import StageSettings, known_name
from dnatune.settings.tasks import Task, resolve_task
from dnatune.settings.training import OptimizerEntry, few_steps

#: What the option `--experiment` of a stage takes.
HELP = "the configuration: results/<name>/experiment.json, which the workflow writes, or a file for --configfile"


@dataclasses.dataclass(frozen=True)
class Configuration(StageSettings):
    """A checked configuration with every default filled in."""

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

    def write(self, path: Path) -> bool:
        """Write the configuration with its defaults, for the commands of the stages; `read` takes it.

        Returns:
            Whether it did not stand there already.
        """
        if path.is_file() and read_json(path) == self.settings:
            return False
        write_json(path, self.settings)
        return True

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

    def require_files(self) -> None:
        """Check that what only a rule's input names is there, which Snakemake would miss without naming the key.

        Raises:
            ConfigurationError: names the key.
        """
        named = (
            ("contamination", "manifest", "file", Path.is_file),
            ("benchmark", "tokenizer", "folder", Path.is_dir),
            ("predict", "input", "file", Path.is_file),
            ("predict", "genome", "file", Path.is_file),
        )
        for section, key, kind, is_there in named:
            path = self.settings.get(section, {}).get(key)
            if path is not None and not is_there(Path(path)):
                raise ConfigurationError(
                    f"there is no {kind} {path}",
                    where=f"config key '{section}.{key}'",
                    fix=f"correct the path, or remove the key; a relative path counts from {Path.cwd()}",
                )

    def cautions(self) -> list[str]:
        """Return what is to be said before anything runs: optimizers with a handful of steps, as far as is known."""
        found = []
        for name, entry in self.optimizers.items():
            steps = entry.budget.steps_of(optimizers.stages(entry.method, entry.hyperparameters))
            warning = few_steps(steps) if steps else None
            found += [f"optimizer '{name}': {warning}"] if warning else []
        return found

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


def read(path: Path) -> Configuration:
    """Read a configuration that `Configuration.write` wrote, or one as Snakemake takes it.

    Raises:
        ConfigurationError: the file is missing or no configuration; see `resolve`.
    """
    content = settings_file.read(path)
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
    experiment = _with_labels(experiment, tasks)
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ConfigurationError("a task is named twice", where="config key 'tasks'", fix="name each task once")
    _check_data(experiment.data, tasks)
    if experiment.tuning:
        rate_grid.check(experiment.tuning, experiment.optimizers, experiment.seeds)
    if experiment.comparison.reference:
        known_name(experiment.comparison.reference, experiment.optimizers, "comparison.reference")
    _check_answers(experiment, tasks)
    if experiment.evaluation.mode == "generate":
        _check_writers(experiment)
    entries = {name: optimizer_entry(name, entry, experiment) for name, entry in experiment.optimizers.items()}
    if experiment.comparison.reference is not None:
        known_name(experiment.comparison.reference, entries, "comparison.reference")
    configuration = Configuration(experiment, {task.name: task for task in tasks}, entries)
    if experiment.predict:
        labels = configuration.tasks[configuration.predicted_run().task].labels
        experiment.predict.class_of(labels)
    for model in configuration.pretrained:
        _check_data(experiment.data, configuration.pretraining_tasks(model).values())
    return configuration


def _check_answers(experiment: Experiment, tasks: list[Task]) -> None:
    """Check that tokens that stand for classes are enough for every task, and that nothing looks for words instead."""
    for name, model in experiment.models.items():
        answers = model.prompt.answers if model.prompt else None
        if answers is None:
            continue
        where = f"config key 'models.{name}.prompt.answers'"
        for task in tasks:
            if len(task.labels) > len(answers):
                raise ConfigurationError(
                    f"there are {len(answers)} tokens for the answers and task '{task.name}' has {len(task.labels)} "
                    "classes",
                    where=where,
                    fix="name a token of the vocabulary for each class",
                )
        if experiment.evaluation.mode == "generate":
            raise ConfigurationError(
                "evaluation.mode is 'generate', which looks for the labels' words",
                where=where,
                fix="choose the mode labels, or leave the answers out",
            )


def _check_writers(experiment: Experiment) -> None:
    silent = [name for name, entry in experiment.models.items() if entry.other_head]
    if silent:
        raise ConfigurationError(
            f"model '{silent[0]}' has a classification head and cannot write text",
            where="config key 'evaluation.mode'",
            fix="set it to labels, or leave the model out",
        )


def _with_labels(experiment: Experiment, tasks: Sequence[Task]) -> Experiment:
    """Return the configuration with the labels that the users' files gave, which are then read only once."""
    entries = [
        TaskEntry.read({**entry.plain(), "labels": list(task.labels)}, prefix=f"tasks.{number}")
        if task.files
        else entry
        for number, (entry, task) in enumerate(zip(experiment.tasks, tasks, strict=True))
    ]
    return experiment.model_copy(update={"tasks": tuple(entries)})


def _check_data(data: DataEntry | None, tasks: Iterable[Task]) -> None:
    without = [task for task in tasks if not task.own]
    if data is None and without:
        raise ConfigurationError(
            f"'data' is missing, and the task '{without[0].name}' has no data of its own",
            where="config key 'data'",
            fix="add it, or give the task files of your own (docs/your-own-data.md):\n"
            + in_yaml([{"name": without[0].name, "fasta": {"one class": "one.fa", "another": "another.fa"}}]),
        )
    if data is None or data.source != "simulated":
        return
    for task in without:
        if len(task.labels) != 2:
            raise ConfigurationError(
                f"simulated data have 2 classes and task '{task.name}' has {len(task.labels)}",
                where="config key 'data.source'",
                fix="take the task from the hub or a directory, or choose a promoter task",
            )
