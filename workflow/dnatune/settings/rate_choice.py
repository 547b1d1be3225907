"""choice.json: the trials of an optimizer and the learning rate that its runs take."""

from typing import Literal

from dnatune.contracts import NatsPerToken, Record, Seconds

ChoiceWarning = Literal[
    "all_diverged",
    "lowest_rate",
    "highest_rate",
    "some_diverged",
    "tied",
    "few_dev_items",
    "missing_dev_classes",
    "undefined_metric",
    "class_shares_only",
]


class TriedRate(Record):
    """What is kept of a trial; the columns of tuning.tsv behind model, task and optimizer."""

    learning_rate: float
    """Learning rate of the trial."""
    search: Literal["coarse", "fine"]
    """Step of the search: `coarse`, one seed over all rates; `fine`, two more seeds about the best of these."""
    seed: int
    """Seed of the trial."""
    status: Literal["completed", "diverged"]
    """How the trial ended."""
    chosen: bool
    """Whether the optimizer's runs take this rate because of this trial; `yes` or `no` in `tuning.tsv`."""
    dev_loss: NatsPerToken | None
    """Loss on the dev items after the step that it keeps; `null` like the other scores if the trial diverged."""
    dev_accuracy: float | None
    """Accuracy on the dev items after the step that it keeps."""
    dev_mcc: float | None
    """MCC on the dev items after the step that it keeps; `null` also if they are all of one class."""
    dev_f1_macro: float | None
    """Macro F1 on the dev items after the step that it keeps."""
    steps: int
    """Optimizer steps that were done."""
    gradient_evaluations: int
    """Forward and backward passes over a global batch."""
    wall_seconds: Seconds
    """Wall time of training."""
    gpu_seconds: Seconds
    """Wall time × ranks on GPUs; 0 on a CPU."""
    ended: str | None
    """Why the trial diverged; `null` if it did not."""

    def score(self, metric: str) -> float | None:
        """Return a dev score by its name."""
        return getattr(self, metric)


class Choice(Record):
    """choice.json: an optimizer's trials, and the learning rate that its runs take."""

    model: str
    """Name of the base model."""
    task: str
    """Name of the task."""
    optimizer: str
    """Name of the optimizer."""
    metric: Literal["dev_loss", "dev_mcc", "dev_f1_macro"]
    """What decided; `dev_loss` takes the place of an MCC that is not defined."""
    learning_rate: float
    """The chosen rate."""
    score: float | None
    """`metric` of the chosen rate, the mean over its chosen trials; `null` if they diverged."""
    class_share_loss: NatsPerToken | None
    """Dev loss of a model that knows only the share of each class; `null` if the dev items are all of one class."""
    dev_items: int
    """Dev items that were scored."""
    warnings: list[ChoiceWarning]
    """`all_diverged`: every rate of the deciding step diverged with a seed, and the one that lasted longest is taken.
    `lowest_rate` and `highest_rate`: the best rate is at an end of all that was tried. `some_diverged`: trials
    diverged. `tied`: another rate has the same score. `few_dev_items`: there are fewer than 200. `missing_dev_classes`:
    the dev items lack a class. `undefined_metric`: they are all of one class, which leaves no MCC. `class_shares_only`:
    the dev loss of the chosen rate is not below `class_share_loss`."""
    trials: list[TriedRate]
    """The trials: those of the first step by rising rate, then those of the second."""

    @property
    def coarse(self) -> list[TriedRate]:
        """Return the trials of the first step."""
        return [trial for trial in self.trials if trial.search == "coarse"]

    @property
    def fine(self) -> list[TriedRate]:
        """Return the trials of the second step."""
        return [trial for trial in self.trials if trial.search == "fine"]
