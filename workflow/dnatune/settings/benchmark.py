"""Settings of the speed comparison."""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from dnatune.settings.base import AllDifferent, AsTuple, FilePath, Number, Settings, setting
from dnatune.settings.sources import TaskSettings, check_heads
from dnatune.settings.training import AutoOrCount, Lora, Training


class Benchmark(Settings):
    """The speed comparison."""

    hidden_size: int = setting(512, ge=8, le=100_000, unit="features")
    """Width of the model."""
    layers: int = setting(8, ge=1, le=1000, unit="layers")
    """Number of layers."""
    heads: int = setting(8, ge=1, le=10_000, unit="heads")
    """Number of attention heads."""
    key_value_heads: int = setting(8, ge=1, le=10_000, unit="heads")
    """Number of key and value heads. With fewer than `heads`, attention is grouped-query attention."""
    intermediate_size: int = setting(1408, ge=8, le=1_000_000, unit="features")
    """Width of the feed-forward layers."""
    tokenizer: FilePath | None = setting(None, unit="folder")
    """Tokenizer, which decides the vocabulary. If absent, it is that of the first model. A relative path counts from
    the folder in which snakemake is started, or that of its --directory."""
    vocabulary: int | None = setting(None, ge=1, le=10_000_000, unit="rows")
    """Rows of the embedding and of the output layer, at least as many as the tokenizer has tokens. If absent, it is
    that number."""
    peers: Annotated[tuple[Literal["trl"], ...], AsTuple, AllDifferent] = setting((), unit="list of names")
    """Other trainers that are timed on the same batch. trl: TRL's SFTTrainer, which is installed apart;
    benchmarks/README.md."""
    original: bool = setting(True, unit="yes or no")
    """Whether the original recipe is timed too, which on a GPU takes most of the time. The results of all
    recipes are compared in any case."""
    examples: int = setting(128, ge=1, le=1_000_000, unit="examples")
    """Global batch of the timed steps, from the start of the first task's training split."""
    slow_examples: int = setting(32, ge=16, le=1_000_000, multiple_of=16, unit="examples")
    """Part of the global batch that the slower recipes are timed on after the first round, if that round shows that an
    example costs the same in the part as in the whole."""
    scoring_examples: int = setting(64, ge=1, le=1_000_000, unit="examples")
    """Number of examples of the timed scoring, from the start of the first task's test split."""
    repeats: int = setting(5, ge=2, le=1000, unit="rounds")
    """Number of timings of each recipe."""
    patience: Number = setting(0, ge=0, le=1_000_000, unit="seconds", reruns=False)
    """Total time to wait until other processes leave the cores idle, and to repeat timings that they disturbed. What
    they used is recorded in any case."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        check_heads(self)
        return self


class TimedScoring(Settings):
    """The scoring that is timed."""

    batch_size: AutoOrCount = setting(unit="examples")
    """Largest number of examples in one forward pass, which decides the time; see `Evaluation`."""


class BenchmarkSettings(Settings):
    """What decides the speed comparison."""

    task: TaskSettings = setting(unit="map")
    """The task, the first of the configuration."""
    benchmark: Benchmark = setting(unit="map")
    """Model and extent of the comparison."""
    lora: Lora = setting(unit="map")
    """The adapter."""
    training: Training = setting(unit="map")
    """How the timed steps are trained."""
    evaluation: TimedScoring = setting(unit="map")
    """The scoring that is timed."""
