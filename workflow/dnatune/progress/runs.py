"""How far each run of an experiment is, read from the files that its stages leave; nothing here waits or writes."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from dnatune import optimizers, outcomes
from dnatune.data.leakage import Audit
from dnatune.errors import DataError, DnatuneError, Interrupted
from dnatune.evaluation.metrics import Metrics
from dnatune.launch import run_lock, slurm
from dnatune.settings.experiment import Configuration
from dnatune.settings.training import FinetuneSettings
from dnatune.training.record import Run
from dnatune.training.step_log import last_row

#: Of a run, in the order in which it has them; a trial ends as `trained` or `diverged`.
State = Literal["waiting", "training", "stopped", "failed", "trained", "diverged", "scored"]


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far one run or one learning-rate trial is.

    Attributes:
        place: <model>/<task>/<optimizer>/seed<k>, of a trial …/rate<r> or …/fine<k>/seed<s>.
        state: see `State`; `stopped` is a run that was cut short and goes on from its checkpoint.
        step: optimizer steps that are done.
        steps: optimizer steps of the whole; None while the size of the training split is not known.
        loss: of the last step, in nats per label token.
        evaluations_per_second: gradient evaluations, mean over the training time so far.
        seconds_left: of training, at that speed.
        score: of a scored run, by its task's metric.
        writer: who trains it now: job, process and host.
        note: what it waits for, or why it failed.
    """

    place: str
    state: State
    step: int = 0
    steps: int | None = None
    loss: float | None = None
    evaluations_per_second: float | None = None
    seconds_left: float | None = None
    score: float | None = None
    writer: str | None = None
    note: str = ""

    @property
    def cell(self) -> tuple[str, str, str]:
        """Return model, task and optimizer."""
        model, task, optimizer, *_ = self.place.split("/")
        return model, task, optimizer


@dataclasses.dataclass(frozen=True)
class Failure:
    """A stage that failed at its last attempt.

    Attributes:
        log: of the stage, below logs/<name>, without its ending.
        what, where, fix: see `DnatuneError`.
    """

    log: str
    what: str
    where: str | None
    fix: str | None


@dataclasses.dataclass(frozen=True)
class ExperimentProgress:
    """How far an experiment is.

    Attributes:
        name: of its folder in results.
        runs: every run of the grid.
        trials: every learning-rate trial; none without `tuning`.
        failures: stages whose last attempt failed.
        pending: this user's jobs that wait in Slurm's queue.
        report: path of the page, if there is one.
    """

    name: str
    runs: list[Progress]
    trials: list[Progress]
    failures: list[Failure]
    pending: int
    report: str | None

    @property
    def training(self) -> list[Progress]:
        """Return the runs and trials that are trained now."""
        return [one for one in [*self.trials, *self.runs] if one.state == "training"]


def progress_of(configuration: Configuration, folder: Path) -> ExperimentProgress:
    """Return how far an experiment is.

    Args:
        configuration: of the experiment.
        folder: in which results/ and logs/ are.
    """
    reader = _Reader(configuration, folder)
    report = folder / "results" / configuration.name / "report.html"
    return ExperimentProgress(
        name=configuration.name,
        runs=[reader.run(run.path) for run in configuration.runs()],
        trials=list(reader.all_trials()),
        failures=list(reader.failures()),
        pending=len(slurm.pending_jobs()),
        report=str(report.relative_to(folder)) if report.is_file() else None,
    )


class _Reader:
    """Reads what there is of an experiment.

    Args:
        configuration, folder: see `progress_of`.
    """

    def __init__(self, configuration: Configuration, folder: Path):
        self.configuration = configuration
        self.results, self.logs = folder / "results" / configuration.name, folder / "logs" / configuration.name
        self._examples: dict[str, int | None] = {}

    def run(self, place: str) -> Progress:
        """Return how far a run of the grid is."""
        model, task, optimizer, _ = place.split("/")
        found = self._progress(place, "finetune", self.configuration.settings_of_run(place))
        if found.state == "waiting" and self.configuration.tuned and not found.note:
            trials = [self.trial(one) for one in self._trial_places(model, task, optimizer)]
            done = sum(one.state in ("trained", "diverged") for one in trials)
            if not (self.results / "tuning" / model / task / optimizer / "choice.json").is_file():
                return dataclasses.replace(found, note=f"its learning rate: {done} of {len(trials)} trials are done")
        if found.state != "trained":
            return found
        try:
            metrics = Metrics.read(self.results / "evaluate" / place / "metrics.json")
        except DataError:
            failed = self._failure("evaluate", place)
            return dataclasses.replace(found, note=f"scoring failed: {failed.what}" if failed else "not scored yet")
        return dataclasses.replace(found, state="scored", score=metrics.score(self.configuration.task(task).metric))

    def all_trials(self) -> Iterator[Progress]:
        """Yield how far each learning-rate trial is."""
        cells = dict.fromkeys((run.model, run.task, run.optimizer) for run in self.configuration.runs())
        for cell in cells if self.configuration.tuned else ():
            yield from map(self.trial, self._trial_places(*cell))

    def trial(self, place: str) -> Progress:
        """Return how far a trial is."""
        # How long it is does not depend on its rate, which for one of the second step may not be known yet.
        found = self._progress(place, "tuning", self.configuration.trials.settings_at(place, best=1.0))
        coarse = self.results / "tuning" / Path(*found.cell) / "coarse.json"
        if found.state == "waiting" and not found.note and "/fine" in place and not coarse.is_file():
            return dataclasses.replace(found, note="the first step of the search")
        return found

    def failures(self) -> Iterator[Failure]:
        """Yield the stages whose last attempt failed; a stage that starts again takes its failure away."""
        for path in sorted(self.logs.rglob("*.outcome.json")):
            told = outcomes.read(path)
            if told and not isinstance(told[0], Interrupted):
                log = str(path.relative_to(self.logs)).removesuffix(".outcome.json")
                yield Failure(log, told[0].what, told[0].where, told[0].fix)

    def _trial_places(self, model: str, task: str, optimizer: str) -> list[str]:
        trials = self.configuration.trials
        own = [*trials.places(optimizer), *trials.fine_places(optimizer)]
        return [f"{model}/{task}/{optimizer}/{place}" for place in own]

    def _progress(self, place: str, stage: str, settings: FinetuneSettings) -> Progress:
        """Return how far training is."""
        steps = self._steps(settings)
        folder = self.results / stage / place
        try:
            run = Run.read(folder / "run.json")
        except DataError:
            return self._unfinished(place, stage, steps)
        state: State = "trained" if run.status == "completed" else "diverged"
        note = run.diverged.reason if run.diverged else ""
        return Progress(place, state, run.steps, steps, run.final_loss, note=note)

    def _unfinished(self, place: str, stage: str, steps: int | None) -> Progress:
        checkpoints = self.results / stage / place / "checkpoints"
        logs = sorted(checkpoints.glob("*/training.jsonl"), key=lambda log: log.stat().st_mtime)
        row = last_row(logs[-1]) if logs else None
        reached = _reached(row, steps) if row else {"steps": steps}
        writer, failed = run_lock.writer_of(checkpoints), self._failure(stage, place)
        if writer:
            return Progress(place, "training", **reached, writer=writer)
        if failed:
            return Progress(place, "failed", **reached, note=failed.what)
        return Progress(place, "stopped" if row else "waiting", **reached, note="" if row else self._awaited(place))

    def _awaited(self, place: str) -> str:
        """Return which input of training is not there yet; nothing if all are."""
        model, task, *_ = place.split("/")
        missing = [
            words
            for words, path in (
                (f"model {model}", self.results / "download" / "models" / model),
                (f"task {task}", self.results / "prepare" / task / "train.jsonl"),
            )
            if not path.exists()
        ]
        return " and ".join(missing)

    def _failure(self, stage: str, place: str) -> DnatuneError | None:
        told = outcomes.read(self.logs / stage / f"{place}.outcome.json")
        return told[0] if told and not isinstance(told[0], Interrupted) else None

    def _steps(self, settings: FinetuneSettings) -> int | None:
        examples = self._training_examples(settings.task.name)
        stages = optimizers.stages(settings.optimizer.method, settings.optimizer.hyperparameters)
        per_epoch = None if examples is None else math.ceil(examples / settings.training.global_batch_size)
        return settings.budget.steps_of(stages, per_epoch)

    def _training_examples(self, task: str) -> int | None:
        if task not in self._examples:
            try:
                classes = Audit.read(self.results / "prepare" / task / "audit.json").classes
                self._examples[task] = sum(classes["train"].values())
            except DataError:
                self._examples[task] = None
        return self._examples[task]


def _reached(row: dict[str, Any], steps: int | None) -> dict[str, Any]:
    """Return what the last line of a step log says of a run."""
    step, seconds = row["step"], row["seconds"]
    left = seconds / step * (steps - step) if steps else None
    speed = row["gradient_evaluations"] / seconds if seconds else None
    return {"step": step, "steps": steps, "loss": row["loss"], "evaluations_per_second": speed, "seconds_left": left}


def as_json(found: ExperimentProgress) -> str:
    """Return all of it as JSON."""
    return json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=2)
