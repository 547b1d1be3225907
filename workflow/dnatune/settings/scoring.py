"""Settings of scoring, of the audit of data and of base models, and of the comparison."""

from typing import Annotated, Literal

from dnatune.settings.base import AllDifferent, AsTuple, FilePath, Number, Settings, Text, setting
from dnatune.settings.prompt import PromptSettings
from dnatune.settings.simulation import SimulationSettings
from dnatune.settings.sources import OtherHead, TaskSettings
from dnatune.settings.tasks import Task
from dnatune.settings.training import AutoOrCount

Labels = Annotated[tuple[str, ...], AsTuple]
Baseline = Literal["majority", "gc", "kmers", "onehot", "positional", "memory", "frozen"]
#: What readers call the baselines, and the Bayes optimum of simulated data.
BASELINE_NAMES = {
    "majority": "majority class",
    "gc": "GC content",
    "kmers": "k-mers",
    "onehot": "base at each place",
    "positional": "k-mers with place",
    "memory": "memory of training",
    "frozen": "frozen base model",
    "bayes": "Bayes optimum",
}


class Evaluation(Settings):
    """How the test split is scored."""

    mode: Literal["labels", "generate"] = setting("labels", unit="one of two words")
    """labels: log-probability of each whole label. generate: free decoding, as in the original, to compare with it."""
    batch_size: AutoOrCount = setting("auto", unit="examples", reruns=False)
    """Largest number of examples in one forward pass. With auto, a GPU gets what 16,384 tokens hold, and at most its
    share of the items; a CPU gets what 4,096 tokens hold, and at most 64. In shared rows only tokens behind the prefix
    count. It is halved if a GPU runs out of memory. It changes the result only by rounding."""
    max_new_tokens: int = setting(8, ge=1, le=100_000, unit="tokens")
    """Largest number of tokens that are decoded in generate mode."""
    baselines: Annotated[tuple[Baseline, ...], AsTuple, AllDifferent] = setting(
        ("majority", "gc", "kmers", "onehot", "positional", "memory"), unit="list of names"
    )
    """Classifiers without fine-tuning that the report compares with. majority: the class shares of training. Logistic
    regressions: gc on GC content; kmers on words of 1 to 6 bases, whatever their place; onehot on the base at each
    place; positional on words of 4 bases in windows of 5, and on the base at each place.
    memory: by the label of the closest twin in training (dev says whether it has or has not that label), else kmers.
    frozen: logistic regression on each base model's mean last hidden state, which says whether fine-tuning helps at
    all; it must be named, because it costs one forward pass of the model over all rows."""


class EvaluateSettings(Settings):
    """What decides the scores of a model on a task."""

    task: str = setting(unit="name")
    """Name of the task."""
    labels: Labels = setting(unit="list of words")
    """Answer of each class."""
    mode: Literal["labels", "generate"] = setting(unit="one of two words")
    """See `Evaluation`."""
    batch_size: AutoOrCount = setting(unit="examples", reruns=False)
    """See `Evaluation`."""
    max_new_tokens: int = setting(ge=1, unit="tokens")
    """See `Evaluation`."""
    most_tokens: int | None = setting(None, ge=1, unit="tokens")
    """`max_seq_length` of `Training`; absent if the data decide."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(unit="number format")
    """See `Training`; of a base model. What was trained is scored in the precision that its run.json names."""


class Merge(Settings):
    """How merged models are stored."""

    dtype: Literal["fp32", "bf16", "fp16"] | None = setting(None, unit="number format")
    """Number format of the merged weights. If absent or null, each weight keeps the base model's. Rounding to bf16 or
    fp16 undoes small updates; scores are those of the trained model in any case, and merge.json says what was lost."""


class ProbeSettings(Settings):
    """What decides the search for signs that a base model knows a task's test split."""

    model: str = setting(unit="name")
    """Name of the base model."""
    task: str = setting(unit="name")
    """Name of the task."""
    labels: Labels = setting(unit="list of words")
    """Answer of each class."""
    items: int = setting(ge=1, unit="examples")
    """See `Contamination`."""
    batch_size: AutoOrCount = setting(unit="examples", reruns=False)
    """See `Evaluation`."""
    most_tokens: int | None = setting(None, ge=1, unit="tokens")
    """`max_seq_length` of `Training`; absent if the data decide."""
    prompt: PromptSettings | None = setting(None, unit="map")
    """See `ModelEntry`."""
    head: OtherHead = setting(None, unit="word")
    """Head of the model, if it is no causal language model, see `ModelEntry`."""


class BaselineSettings(Settings):
    """What decides the baselines of a task without a language model."""

    task: str = setting(unit="name")
    """Name of the task."""
    labels: Labels = setting(unit="list of words")
    """Answer of each class."""
    baselines: Labels = setting(unit="list of names")
    """Names of the baselines."""
    simulated: SimulationSettings | None = setting(None, unit="map")
    """Of the Bayes-optimal classifier, the settings of the simulator."""


class Audit(Settings):
    """What the splits of a data set share."""

    on_leak: Literal["report", "drop", "resplit", "fail"] = setting("report", unit="name")
    """What happens if a dev or test sequence, or a near-copy of it, is in an earlier split. report: scores are given
    with and without such items. drop: the row of the earlier split is removed; the test split keeps all rows. resplit:
    all rows are split again so that no copies, near-copies, twins or sequences that share a word of 30 bases are in
    different splits; scores then do not compare with those on the original split. fail: the workflow stops."""
    relatives: Annotated[tuple[Literal["twins", "shared_words"], ...], AsTuple, AllDifferent] = setting(
        (), unit="list of names"
    )
    """What drop and fail take for a leak besides copies and near-copies. twins: sequences that share pieces in place,
    such as a promoter and the negative made from it. shared_words: sequences that share an exact word of 30 bases on
    either strand."""
    similarity: Number = setting(0.5, gt=0, le=1, unit="Jaccard index")
    """Smallest share of common 12-base words (of either strand) that makes two sequences near-copies."""


class Contamination(Settings):
    """Whether a base model has seen a test split."""

    items: int = setting(2000, ge=1, unit="examples")
    """Largest number of test items, and of dev items, that the base model is asked. They are drawn at random."""
    manifest: FilePath | None = setting(None, unit="file")
    """Earlier training data of the base model: a file with the SHA-256 of one sequence per line. Test items that are
    found there are flagged. A relative path counts from the folder in which snakemake is
    started, or that of its --directory."""


class Comparison(Settings):
    """How pairs of optimizers are tested."""

    reference: Text | None = setting(None, unit="name of an optimizer")
    """Optimizer with which all others are compared. Only the pairs with it are then corrected for their number
    together, which finds smaller differences. Without one every pair counts."""
    equivalence_margin: Number = setting(0.01, ge=1e-6, le=2, unit="of the task's metric")
    """Largest difference that does not matter: two optimizers shown to differ by less are called equivalent. The
    number of seeds needed is that which finds a difference of this size with 80 % power."""
    level: Number = setting(0.95, gt=0.5, le=0.999999, unit="share")
    """Confidence level of every interval; differences are tested at 1 − level."""


class ComparedTask(TaskSettings):
    """A task as the comparison needs it."""

    metric: str = setting("mcc", unit="metric")
    """Metric that comparisons use."""


class CompareSettings(Settings):
    """What the report says beyond what is in the files it reads."""

    name: str = setting(unit="folder name")
    """Name of the configuration."""
    tasks: Annotated[tuple[ComparedTask, ...], AsTuple] = setting(min_length=1, unit="list of maps")
    """The tasks."""
    simulated: bool = setting(unit="yes or no")
    """Whether the data are simulated."""
    comparison: Comparison = setting(unit="map")
    """How pairs of optimizers are tested."""

    @property
    def tasks_by_name(self) -> dict[str, Task]:
        """Return the tasks by name."""
        return {one.name: Task(one.name, one.labels, one.instruction, one.metric) for one in self.tasks}
