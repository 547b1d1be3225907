"""run.json: what made a run and what became of it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from dnatune.contracts import NatsPerToken, Record, Seconds, Unit
from dnatune.data.integrity import Contents, check
from dnatune.files import digest
from dnatune.settings.training import FinetuneSettings


def adapter_of(record: Path) -> Path:
    """Return the folder of the adapter that a run.json belongs to; a diverged run and a trial have none."""
    return record.with_name("adapter")


class Divergence(Record):
    """Where and why training diverged."""

    step: int
    """Optimizer step at which it was noticed."""
    loss: NatsPerToken | None
    """Loss of that step; `null` if it was not finite."""
    gradient_norm: float | None
    """Gradient norm of that step; `null` if it was not finite."""
    reason: str
    """What was not finite or too large, in words."""


class Inputs(Record):
    """What a run was trained on."""

    model: str
    """Digest of the files of the base model."""
    train: str
    """SHA-256 of the prepared training split."""


class Software(Record):
    """What computed a result."""

    python: str
    """Version of Python."""
    torch: str | None
    """Version of the package; `null` if it is not installed, as below."""
    transformers: str | None
    """Version of the package."""
    peft: str | None
    """Version of the package."""
    deepspeed: str | None
    """Version of the package."""
    tokenizers: str | None
    """Version of the package."""
    snakemake: str | None
    """Version of the package."""
    git_commit: str | None
    """Commit of the checkout, with `+` if tracked files differ from it; `unknown` if git cannot tell, `null` outside a
    checkout."""
    code: str
    """Digest of the stage's file in `commands/` and of all of the library that it imports, without docstrings,
    comments, layout and the texts of errors and log lines."""


SegmentEnd = Literal["completed", "diverged", "interrupted", "failed", "killed"]


class Segment(Record):
    """A part of a run that one process trained, from a start to an end."""

    host: str
    """Node of the first rank."""
    job: str | None
    """Number of the Slurm job; `null` outside Slurm."""
    start: str
    """When it started, in UTC (ISO 8601)."""
    end: str
    """When it ended; of one that was killed, when it wrote its last step."""
    reason: SegmentEnd
    """Why it ended: `interrupted` by a signal, with a checkpoint; `failed` with an error; `killed` without a word."""
    from_step: int
    """Last optimizer step before it."""
    to_step: int
    """Last optimizer step that it did. Steps after the checkpoint from which the next one starts are done again."""
    checkpoint: str | None
    """SHA-256 of the manifest of the checkpoint that it started from; `null` if it started at step 0."""
    code: str
    """Digest of the code, as `software.code`."""
    accepted: list[str]
    """What computes otherwise than when that checkpoint was saved, and was accepted (`training.accept_code_change`)."""


class Conditions(Record):
    """All that decides whether a saved run may go on, or a finished one stands for this one."""

    settings: dict[str, Any]
    """Every setting that made the run."""
    inputs: Inputs
    """Digests of the base model and the training split."""
    ranks: int
    """Number of ranks."""
    precision: Literal["fp32", "bf16", "fp16"]
    """Precision in use, after `auto` was resolved."""
    software: Software
    """Versions of Python and of the packages that matter, the git commit and the digest of the code."""

    @property
    def typed_settings(self) -> FinetuneSettings:
        """Return the settings as the stage reads them."""
        return FinetuneSettings.read(self.settings, noun="run.json: settings")

    @property
    def configuration(self) -> str:
        """Return a digest of the settings that can change a result and of the inputs; it names a checkpoint folder."""
        return digest([self.typed_settings.compared(), self.inputs.model_dump()])

    @property
    def identity(self) -> str:
        """Return a digest of the configuration and of what else decides the result, but for dnatune's own code."""
        versions = self.software
        return digest([self.configuration, self.ranks, self.precision, versions.torch, versions.deepspeed])


class Run(Conditions):
    """run.json of one training run."""

    status: Literal["completed", "diverged"]
    """`diverged` if training was stopped because of its loss or gradient."""
    diverged: Divergence | None
    """Where and why a run diverged; `null` for one that completed."""
    model: str
    """Name of the base model."""
    task: str
    """Name of the task."""
    optimizer: str
    """Name of the optimizer."""
    seed: int
    """Seed of the run."""
    steps: int
    """Optimizer steps that were done."""
    kept_step: int | None = None
    """Step whose weights the adapter has: the last, or the best by dev loss (`training.keep`); `null` in files of
    earlier versions, which kept the last."""
    gradient_evaluations: int
    """Forward and backward passes over a global batch."""
    repeated_evaluations: int
    """Those of them whose gradient overflowed in fp16, so that the stage was repeated at a lower loss scale."""
    epochs: float
    """Passes over the training split, fractional."""
    global_batch_size: int
    """Examples per optimizer step."""
    micro_batch_size: int
    """Examples per forward pass of a rank."""
    accumulation: int
    """Micro-batches per rank and step."""
    shared_prefix: bool
    """Whether the examples of a micro-batch shared one row and its prefix; the log says why if they did not."""
    gradient_checkpointing: bool
    """Whether gradient checkpointing was on."""
    compiled: bool
    """Whether the layers of the model were compiled."""
    devices: list[str]
    """Device of each rank as `node:number`; `node:cpu` if the scheduler gave it none."""
    device: str
    """Name of the first rank's GPU, or `cpu`."""
    cpu: str
    """Name of the first rank's processor."""
    matmul_peak: Annotated[float, Unit("FLOP/s")]
    """Speed of a square matrix product in the run's precision, measured at the start and summed over the ranks."""
    trainable_parameters: int
    """Parameters that were trained."""
    total_parameters: int
    """Parameters of the model, the adapter included."""
    wall_seconds: Seconds
    """Wall time of training, without start-up, scoring of the dev split and standstills for checkpoints."""
    gpu_seconds: Seconds
    """Wall time × ranks on GPUs; 0 on a CPU."""
    final_loss: NatsPerToken | None
    """Mean loss of the last tenth of the steps; `null` if it is not finite."""
    class_share_loss: NatsPerToken | None
    """Loss on the dev examples of a model that knows only the share of each class among them; `null` if there are none
    or all are of one class."""
    unknown_tokens: float = 0.0
    """Share of the tokens of the training prompts that the tokenizer does not know; 0 in files of earlier versions."""
    segments: list[Segment] = pydantic.Field(default_factory=list)
    """Every start of the run, in order of time; one if it was never interrupted, none in files of earlier versions."""
    outputs: Contents
    """What else the run made: `training.jsonl` and, if it has one, the files of `adapter/`."""

    @pydantic.model_validator(mode="after")
    def _status_agrees(self) -> Self:
        if (self.status == "diverged") != (self.diverged is not None):
            raise ValueError("'status' and 'diverged' contradict each other")
        return self

    def check_outputs(self, path: Path, only: str | None = None) -> None:
        """Check that adapter and step log are those of this run.

        Args:
            path: run.json, beside which they are.
            only: name of one of them, if only that is used.

        Raises:
            DataError: a file is missing or has changed.
        """
        outputs = self.outputs.restricted(only) if only else self.outputs
        check(path.parent, outputs, f"delete {path}; the workflow trains again")

    @property
    def place(self) -> str:
        """Return the run's place in the grid, as its folders name it."""
        return f"{self.model}/{self.task}/{self.optimizer}/seed{self.seed}"

    @property
    def keeps_best(self) -> bool:
        """Return whether the best step by dev loss is kept, and not the last."""
        return self.settings["training"].get("keep") == "best_dev"

    @property
    def learning_rate(self) -> float:
        """Return the peak learning rate."""
        return self.settings["optimizer"]["hyperparameters"]["learning_rate"]
