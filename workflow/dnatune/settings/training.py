"""Settings of a training run: how long, how, with which adapter and optimizer."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dnatune.settings.base import AllDifferent, AsTuple, Number, Settings, Text, exactly_one, refused, setting
from dnatune.settings.deepspeed_keys import read_keys
from dnatune.settings.prompt import PromptSettings
from dnatune.settings.sources import OtherHead, TaskSettings

#: A run of fewer steps is warned of. A step of AdamW moves a weight by about the learning rate, and 20 steps at 1e-3
#: move it by .02, the standard deviation of a new Llama's weights. Four steps over 420 examples left MCC 0 at AUROC
#: .948: the order of the items was learnt, the threshold was not.
FEWEST_STEPS = 20
AutoOrCount = Literal["auto"] | Annotated[int, Field(ge=1)]


class Budget(Settings):
    """How long a run trains: one of three measures."""

    epochs: Number | None = setting(None, gt=0, le=1_000_000, unit="passes over the training split")
    """Length of training in epochs. The gradient evaluations of one step all see the same data, which count once."""
    steps: int | None = setting(None, ge=1, le=1_000_000_000, unit="optimizer steps")
    """Length of training in steps of the optimizer."""
    gradient_evaluations: int | None = setting(
        None, ge=1, le=1_000_000_000, unit="forward-backward passes over a global batch"
    )
    """Length of training at equal cost. A method with s stages takes floor(n/s) steps."""

    @model_validator(mode="before")
    @classmethod
    def _one_measure(cls, value: Any) -> Any:
        return exactly_one(value, tuple(cls.model_fields))

    def steps_of(self, stages: int, steps_per_epoch: int | None = None) -> int | None:
        """Return the optimizer steps of a run; None if they depend on an unknown size of the training split.

        Args:
            stages: gradient evaluations per step.
            steps_per_epoch: batches of the training split; None if unknown.
        """
        if self.steps:
            return self.steps
        if self.gradient_evaluations:
            return self.gradient_evaluations // stages
        return None if steps_per_epoch is None else math.ceil(self.epochs * steps_per_epoch)


class Training(Settings):
    """How a run is trained."""

    global_batch_size: int = setting(128, ge=1, le=10_000_000, unit="examples")
    """Number of examples behind one gradient, over all ranks. Micro-batches and accumulation follow from it."""
    micro_batch_size: AutoOrCount = setting("auto", unit="examples")
    """Largest number of examples in one forward pass of a rank. With auto, a GPU gets the largest of the global
    batch's share, its half, its quarter, … that fits, which is tried when a run starts; a CPU gets what 4,096 tokens
    behind the prefix hold. It changes speed and memory; the result only by rounding and, if lora.dropout is not 0, by
    other random draws."""
    max_seq_length: Literal["auto"] | Annotated[int, Field(ge=8, le=10_000_000)] = setting("auto", unit="tokens")
    """Largest number of tokens of a prompt with its longest label. A longer example is an error; none is cut. auto: as
    many as the data need, if the model has positions for them."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", unit="number format")
    """Number format of the forward and backward pass. auto: on a GPU bf16 if supported, otherwise fp16; on a CPU
    fp32."""
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt"] = setting(
        "cosine", unit="name in transformers"
    )
    """Schedule of the learning rate over the steps."""
    warmup_ratio: Number = setting(0.03, ge=0, le=1, unit="share of the steps")
    """Length of the linear warm-up at the start."""
    max_grad_norm: Number = setting(1.0, ge=0, unit="l2 norm")
    """Largest norm of a gradient; one that is longer is scaled down to it. 0 turns clipping off."""
    clip: Literal["step", "stages"] = setting("step", unit="one of two words")
    """What is clipped if a method takes several gradients per step. step: the combined gradient, once. stages: each
    gradient, so that no stage leaves further than max_grad_norm allows; the method then follows the clipped field.
    For methods with one gradient per step both are the same; docs/optimizers.md."""
    gradient_checkpointing: Literal["auto"] | bool = setting("auto", unit="yes, no or auto")
    """Recompute activations in the backward pass, which saves memory and costs about a third more work. auto: only if
    otherwise so few examples fit that repeating the prefix for them costs more; never on a CPU."""
    compile: Literal["auto"] | bool = setting("auto", unit="yes, no or auto")
    """Have torch compile the model's layers, which shortens a step on a GPU by a quarter to a third and costs half a
    minute at the start of a job. auto: on a GPU (Ampere or newer), without ZeRO 3, if the run has 300 steps or, if
    gradient evaluations are its budget, 300 of them. It changes the result by rounding and, if lora.dropout is not 0,
    by other random draws; runs that are compared must agree in it."""
    zero_stage: int = setting(2, ge=0, le=3, unit="ZeRO stage")
    """What DeepSpeed shards over the ranks: 1 the optimizer state, 2 also the gradients, 3 also the parameters."""
    deepspeed: Annotated[dict[str, Any] | Text, AfterValidator(read_keys)] = setting(
        default_factory=dict, unit="map, or path of a JSON file"
    )
    """Keys laid over the DeepSpeed configuration that dnatune writes. Keys that dnatune owns are refused. A file counts
    by its content: another content reruns, another path does not."""
    logging_steps: int = setting(10, ge=1, unit="steps", reruns=False)
    """Number of steps between two lines of the log. training.jsonl has every step."""
    evaluation_steps: int = setting(20, ge=1, unit="steps")
    """Number of steps between two scorings of the dev examples. They are also scored after the last step."""
    dev_examples: int = setting(512, ge=0, unit="examples")
    """Number of examples, from the start of the dev split, that are scored during training."""
    keep: Literal["last", "best_dev"] = setting("last", unit="one of two words")
    """The step whose weights a run keeps: the last, or of the steps after which the dev examples are scored the one
    with the lowest loss on them, the first of several alike. It changes neither training nor its cost. An entry of
    `optimizers` may differ, so that both stand side by side; learning rates are then chosen by the same step."""
    save_steps: AutoOrCount = setting("auto", unit="steps", reruns=False)
    """Number of steps between two checkpoints. auto: a tenth of the run's steps, and whenever ten minutes have passed
    since the last."""
    save_total_limit: int = setting(3, ge=1, unit="checkpoints", reruns=False)
    """Number of checkpoints that are kept, the newest. All are deleted after the run is complete."""
    accept_code_change: bool = setting(False, unit="yes or no", reruns=False)
    """Go on with a run that was cut short although other code or other versions of the libraries have begun it, and say
    so in run.json. If no, such a run stops with a message that names what differs."""
    divergence_loss: Number = setting(100.0, gt=0, unit="nats per label token")
    """A loss above this, or one that is not finite, ends the run with status diverged."""
    ddp_timeout: int = setting(30000, ge=1, le=10_000_000, unit="seconds", reruns=False)
    """How long a rank waits for the others in a collective operation."""

    @property
    def most_tokens(self) -> int | None:
        """Return `max_seq_length`; None if the data decide."""
        return None if self.max_seq_length == "auto" else self.max_seq_length

    @model_validator(mode="after")
    def _examples_to_choose_by(self) -> Self:
        if self.keep == "best_dev" and not self.dev_examples:
            raise refused(
                "keep", "it is 'best_dev', and dev_examples is 0", "score dev examples, or keep the last step"
            )
        return self


_MODULES = ("q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "down_proj", "up_proj")


class Lora(Settings):
    """The adapter."""

    rank: int = setting(8, ge=1, le=100_000, unit="rank")
    """Rank of the update matrices."""
    alpha: Number = setting(32, gt=0, unit="factor × rank")
    """The update is scaled by alpha ÷ rank."""
    dropout: Number = setting(0.06, ge=0, lt=1, unit="probability")
    """Dropout before the update."""
    target_modules: Annotated[tuple[Text, ...], AsTuple, AllDifferent] = setting(
        _MODULES, min_length=1, unit="list of module names"
    )
    """Linear layers that get an update, by the last part of their names or the last parts. The default names Llama's; a
    model with a classification head gets the linear layers of its attention instead."""
    modules_to_save: Annotated[tuple[Text, ...], AsTuple, AllDifferent] = setting(
        ("embed_tokens", "lm_head"), unit="list of module names"
    )
    """Modules that are trained in full and saved with the adapter. A classification head always is; the default then
    adds nothing to it."""


def few_steps(steps: int) -> str | None:
    """Return a warning of a run that takes a handful of steps; None of a longer one."""
    if steps >= FEWEST_STEPS:
        return None
    return (
        f"a run of {steps} steps says little: with fewer than {FEWEST_STEPS} a model has hardly moved, and a score near"
        " chance is then no finding about the optimizer; raise 'budget' or lower 'training.global_batch_size'"
    )


class OptimizerEntry(Settings):
    """An entry of `optimizers`, taken apart, with what it does not override filled in."""

    method: str = setting(unit="name")
    """Optimization method, see `dnatune.optimizers`."""
    budget: Budget = setting(unit="map with one key")
    """Length of training."""
    training: Training = setting(unit="map")
    """How its runs are trained."""
    hyperparameters: dict[str, Any] = setting(unit="map")
    """Hyperparameters of the method; without the learning rate if trials find it."""


class OptimizerSettings(Settings):
    """The optimizer of a run."""

    name: str = setting(unit="name")
    """Its name in the configuration."""
    method: str = setting(unit="name")
    """Optimization method, see `dnatune.optimizers`."""
    hyperparameters: dict[str, Any] = setting(unit="map")
    """Hyperparameters of the method."""


class FinetuneSettings(Settings):
    """All that decides one run. A tuned learning rate is not in it: it comes from the trials."""

    model: str = setting(unit="name")
    """Name of the base model."""
    task: TaskSettings = setting(unit="map")
    """The task."""
    seed: int = setting(unit="seed")
    """Seed of data order, adapter initialisation and dropout."""
    optimizer: OptimizerSettings = setting(unit="map")
    """The optimizer."""
    budget: Budget = setting(unit="map with one key")
    """Length of training."""
    lora: Lora = setting(unit="map")
    """The adapter."""
    training: Training = setting(unit="map")
    """How the run is trained."""
    prompt: PromptSettings | None = setting(None, unit="map")
    """Form of the prompts, see `ModelEntry`."""
    head: OtherHead = setting(None, unit="word")
    """Head of the model, if it is no causal language model, see `ModelEntry`."""

    def with_learning_rate(self, rate: float) -> Self:
        """Return the settings with another learning rate, or with one where it was missing."""
        hyperparameters = {**self.optimizer.hyperparameters, "learning_rate": rate}
        return self.model_copy(
            update={"optimizer": self.optimizer.model_copy(update={"hyperparameters": hyperparameters})}
        )
