"""What each stage takes from the configuration: all that decides its result and nothing else."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from dnatune.errors import ConfigurationError
from dnatune.settings.benchmark import BenchmarkSettings, TimedScoring
from dnatune.settings.experiment_file import Experiment
from dnatune.settings.grid import Run
from dnatune.settings.plan import PlannedOptimizer, PlanSettings
from dnatune.settings.prediction import Predict
from dnatune.settings.prompt import PromptSettings
from dnatune.settings.scoring import (
    BaselineSettings,
    ComparedTask,
    CompareSettings,
    EvaluateSettings,
    Merge,
    ProbeSettings,
)
from dnatune.settings.sources import DataSettings, Folder, ModelSettings, TaskEntry, TaskSettings
from dnatune.settings.tasks import Task, resolve_task
from dnatune.settings.training import FinetuneSettings, OptimizerEntry, OptimizerSettings
from dnatune.settings.trials import Trials
from dnatune.settings.tuning import ChooseSettings

_RUN = re.compile(r"([^/]+)/([^/]+)/([^/]+)/seed([0-9]+)")


def known_name(name: str, names: Iterable[str], key: str) -> str:
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


@dataclasses.dataclass(frozen=True)
class StageSettings:
    """A checked configuration, as the stages read it.

    Attributes:
        experiment: what was configured.
        tasks: the tasks by name, in configured order.
        optimizers: the entries of `optimizers` by name, in configured order.
    """

    experiment: Experiment
    tasks: dict[str, Task]
    optimizers: dict[str, OptimizerEntry]

    def task(self, name: str) -> Task:
        """Return a task.

        Raises:
            ConfigurationError: the configuration has none of that name.
        """
        return self.tasks[known_name(name, self.tasks, "tasks")]

    def settings_of_run(self, place: str) -> FinetuneSettings:
        """Return `finetune_settings` of the run at `<model>/<task>/<optimizer>/seed<k>`.

        Raises:
            ConfigurationError: the grid has no such run.
        """
        found = _RUN.fullmatch(place)
        run = Run(*found.groups()[:3], int(found[4])) if found else None
        if run not in self.runs():
            raise ConfigurationError(
                f"the grid has no run {place}", where="command line", fix="name it MODEL/TASK/OPTIMIZER/seedK"
            )
        return self.finetune_settings(run)

    def runs(self) -> list[Run]:
        """Return the grid: models × tasks × optimizers × seeds."""
        grid = itertools.product(self.experiment.models, self.tasks, self.optimizers, self.experiment.seeds)
        return [Run(*cell) for cell in grid]

    def seeds_of_jobs(self) -> list[list[str]]:
        """Return the seeds of the runs that share a job; if each has its own, the wildcard that stands for any."""
        seeds, number = self.experiment.seeds, self.experiment.runs_per_job
        if number == 1:
            return [["{seed}"]]
        return [list(map(str, seeds[first : first + number])) for first in range(0, len(seeds), number)]

    def data_settings(self, task: str) -> DataSettings:
        """Return what decides the CSV files of a task."""
        known = {name: one for model in self.pretrained for name, one in self.pretraining_tasks(model).items()}
        known |= self.tasks
        chosen, data = known[known_name(task, known, "tasks")], self.experiment.data
        if chosen.path is not None:
            return DataSettings(source="directory", task=task, own=True, directory=Folder(path=chosen.path))
        if chosen.files is not None:
            similarity = self.experiment.audit.similarity if chosen.files.splitting.by == "clusters" else None
            return DataSettings(
                source="files", task=task, files=chosen.files, labels=chosen.labels, similarity=similarity
            )
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
            most_tokens=self.experiment.training.most_tokens,
            precision=self.experiment.training.precision,
        )

    def merge_settings(self) -> Merge:
        """Return what decides how merged models are stored."""
        return self.experiment.merge

    def predicted_run(self) -> Run:
        """Return the run that predicts: as `predict` names it, the first of the grid where it does not.

        Raises:
            ConfigurationError: there is no `predict`, or the configuration has none of that name.
        """
        chosen = self.experiment.predict
        if chosen is None:
            raise ConfigurationError(
                "it does not say what to predict",
                where="config key 'predict'",
                fix="give it at least the file: predict: {input: sequences.fa}; docs/predict.md has the other keys",
            )
        first, seeds = self.runs()[0], list(map(str, self.experiment.seeds))
        seed = first.seed if chosen.seed is None else int(known_name(str(chosen.seed), seeds, "predict.seed"))
        return Run(
            known_name(chosen.model or first.model, self.experiment.models, "predict.model"),
            known_name(chosen.task or first.task, self.tasks, "predict.task"),
            known_name(chosen.optimizer or first.optimizer, self.optimizers, "predict.optimizer"),
            seed,
        )

    @property
    def predict_outputs(self) -> tuple[str, ...]:
        """Return the names of the files of predictions."""
        return self.experiment.predict.outputs if self.experiment.predict else Predict.model_fields["outputs"].default

    def probe_settings(self, model: str, task: str) -> ProbeSettings:
        """Return what decides the search for signs that a base model knows a task's test split."""
        return ProbeSettings(
            model=known_name(model, self.experiment.models, "models"),
            **self._labels(task),
            items=self.experiment.contamination.items,
            batch_size=self.experiment.evaluation.batch_size,
            most_tokens=self.experiment.training.most_tokens,
            prompt=self.prompt_settings(model),
            head=self.experiment.models[model].other_head,
        )

    def prompt_settings(self, model: str) -> PromptSettings | None:
        """Return what is configured of the prompts of a base model."""
        return self.experiment.models[known_name(model, self.experiment.models, "models")].prompt

    @property
    def simulated(self) -> bool:
        """Return whether `data` are simulated."""
        return self.experiment.data is not None and self.experiment.data.source == "simulated"

    @property
    def baselines(self) -> list[str]:
        """Return the baselines without a language model; simulated data have the Bayes-optimal classifier too."""
        bayes = ["bayes"] if self.simulated else []
        return [*(name for name in self.experiment.evaluation.baselines if name != "frozen"), *bayes]

    @property
    def asked(self) -> list[tuple[str, str]]:
        """Return (model, task) of each base model that can be asked before it is fine-tuned.

        A new classification head knows nothing, and such a model writes no tokens.
        """
        models = [name for name, entry in self.experiment.models.items() if entry.other_head is None]
        return list(itertools.product(models, self.tasks))

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
        chosen = [known_name(name, self.baselines, "evaluation.baselines") for name in names or self.baselines]
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
            simulated=self.simulated,
            comparison=self.experiment.comparison,
        )

    def plan_settings(self, model: str, task: str) -> PlanSettings:
        """Return what decides the plan of a model and task."""
        return PlanSettings(
            model=known_name(model, self.experiment.models, "models"),
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
        entry = self.experiment.models[known_name(model, self.experiment.models, "models")]
        made_for: dict[str, Any] = {}
        if model in self.pretrained:
            reported = tuple(self.prepare_settings(task) for task in self.tasks)
            made_for = {"reported": reported, "similarity": self.experiment.audit.similarity}
        elif entry.source == "tiny":
            made_for = {"task": self.prepare_settings(next(iter(self.tasks)))}
        return ModelSettings(source=entry.source, head=entry.other_head, **made_for, **{entry.source: entry.chosen})

    @property
    def pretrained(self) -> list[str]:
        """Return the base models that are pretrained here."""
        models = self.experiment.models.items()
        return [name for name, entry in models if entry.source == "tiny" and entry.tiny.pretrain]

    def pretraining_tasks(self, model: str) -> dict[str, Task]:
        """Return the tasks, by name, whose training sequences a base model is pretrained on.

        Raises:
            ConfigurationError: a task is not known, or is one of `tasks` and yet has settings of its own.
        """
        named, key = self.experiment.models[model].tiny.pretrain.tasks, f"models.{model}.tiny.pretrain.tasks"
        if named is None:
            return self.tasks
        for entry in named:
            if entry.name in self.tasks and entry != TaskEntry(name=entry.name):
                raise ConfigurationError(
                    f"task '{entry.name}' is one of 'tasks', which has its settings",
                    where=f"config key '{key}'",
                    fix="give its name alone",
                )
        return {entry.name: self.tasks.get(entry.name) or resolve_task(entry, key) for entry in named}

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

    def settings_of_seeds(self, model: str, task: str, optimizer: str) -> FinetuneSettings:
        """Return what the runs of all seeds have in common, with seed 0, which stands for each."""
        return self.finetune_settings(Run(model, task, optimizer, 0))

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
            prompt=self.prompt_settings(run.model),
            head=self.experiment.models[run.model].other_head,
        )
