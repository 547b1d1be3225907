"""Floating-point operations of a batch, executed and required, and the peak rate that they are compared with.

A multiplication and an addition are two operations. As usual, only matrix products are counted (Chowdhery et al. 2022,
arXiv 2204.02311, appendix B); norms, activations, softmax and the embedding look-up are left out. So are operations
that an attention kernel repeats inside its own backward pass.
"""

import dataclasses
import logging
import time
from collections.abc import Sequence

import torch
from torch import distributed, nn
from transformers import PreTrainedModel

from dnatune.errors import RunError
from dnatune.model.classification import classifies
from dnatune.model.shared_prefix.packing import FEWEST_LOGITS, PackedBatch

_LOG = logging.getLogger(__name__)
#: Side of the square matrices whose product gives the peak rate: large enough to fill the device, and still quick.
_PEAK_SIDE = {"cpu": 2048, "cuda": 8192}
_PEAK_TRIALS = 4


@dataclasses.dataclass(frozen=True)
class Dimensions:
    """The sizes of a model that determine its number of operations.

    Attributes:
        layers: decoder layers.
        attention_width: number of attention heads × head width.
        frozen: weights of the decoder's linear layers that are not trained.
        trained: weights of the decoder's linear layers that are trained: the adapter and fully trained modules.
        head: weights of the output embedding, vocabulary × hidden size.
        head_trained: whether the output embedding is trained.
    """

    layers: int
    attention_width: int
    frozen: int
    trained: int
    head: int
    head_trained: bool


@dataclasses.dataclass(frozen=True)
class Work:
    """The sizes of a batch that determine its number of operations.

    Attributes:
        tokens: number of tokens that go through the decoder.
        context: number of tokens that each token attends to, summed over the tokens.
        logits: number of tokens whose logits are computed.
    """

    tokens: int
    context: int
    logits: int

    def __add__(self, other: "Work") -> "Work":
        """Return the work of both batches."""
        return Work(self.tokens + other.tokens, self.context + other.context, self.logits + other.logits)


def dimensions(model: PreTrainedModel) -> Dimensions:
    """Return the dimensions of a Llama-like causal model, including its adapter if it has one.

    Raises:
        RunError: the formulas do not hold for this model.
    """
    config = model.config
    if classifies(model):
        raise RunError("FLOPs are not counted: the formulas are those of a causal language model")
    if getattr(config, "num_attention_heads", None) is None:
        raise RunError("FLOPs cannot be counted: the model has no attention heads")
    unknown = _unknown_weights(model.get_decoder())
    if unknown:
        raise RunError(f"FLOPs cannot be counted: {unknown[0]} is not the weight of a linear layer")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = {True: 0, False: 0}
    for name, module in model.get_decoder().named_modules():
        # peft keeps the untrained original of a fully trained module; it is not used in the forward pass.
        if isinstance(module, nn.Linear) and "original_module" not in name:
            sizes[module.weight.requires_grad] += module.in_features * module.out_features
    head = [p for name, p in model.get_output_embeddings().named_parameters() if "original_module" not in name]
    return Dimensions(
        layers=config.num_hidden_layers,
        attention_width=config.num_attention_heads * width,
        frozen=sizes[False],
        trained=sizes[True],
        head=config.vocab_size * config.hidden_size,
        head_trained=any(p.requires_grad for p in head),
    )


def _unknown_weights(decoder: nn.Module) -> list[str]:
    """Return the names of a decoder's matrices that belong to no linear layer and no embedding."""
    layers = (module for module in decoder.modules() if isinstance(module, nn.Linear | nn.Embedding))
    known = {id(module.weight) for module in layers}
    return [name for name, p in decoder.named_parameters() if p.dim() > 1 and id(p) not in known]


def training_flops(model: Dimensions, work: Work, checkpointing: bool = False) -> int:
    """Return the operations of the forward and backward pass.

    Per token, a weight costs 2 operations in the forward pass, 2 for the gradient of its input and, if it is trained, 2
    for its own gradient. Per token of context, attention costs 4 × width in the forward pass (scores and weighted sum)
    and twice that in the backward pass. Gradient checkpointing repeats the decoder's forward pass. The inputs of the
    first layer are assumed to need a gradient, which they do if the embeddings are trained.

    Args:
        model: the model's dimensions.
        work: the batch's work.
        checkpointing: whether gradient checkpointing is on.
    """
    forward = _decoder_flops(model, work)
    passes = 3 if checkpointing else 2
    trained = 2 * model.trained * work.tokens
    attention = 4 * model.layers * model.attention_width * work.context
    head = (6 if model.head_trained else 4) * model.head * work.logits
    return passes * forward + trained + attention + head


def scoring_flops(model: Dimensions, work: Work) -> int:
    """Return the operations of a forward pass."""
    return _decoder_flops(model, work) + 2 * model.head * work.logits


def _decoder_flops(model: Dimensions, work: Work) -> int:
    linear = 2 * (model.frozen + model.trained) * work.tokens
    return linear + 4 * model.layers * model.attention_width * work.context


def executed(batch: PackedBatch) -> Work:
    """Return the work executed for a packed batch, including padding and the masked parts of attention."""
    if not batch.groups:
        return padded_work(*batch.input_ids.shape, batch.input_ids.numel())
    # The prefix attends to itself; every example, padded to the longest of its group, to the prefix and to itself.
    context = batch.groups[0].prefix ** 2 + sum(group.mask.numel() for group in batch.groups)
    return Work(batch.input_ids.numel(), context, max(FEWEST_LOGITS, len(batch.targets)))


def required_work(batch: PackedBatch) -> Work:
    """Return the work that a packed batch requires: each of its tokens once, and only unmasked attention."""
    if not batch.groups:
        used = batch.mask.sum(dim=-1)
        return Work(int(used.sum()), int((used * (used + 1) // 2).sum()), len(batch.targets))
    prefix = batch.groups[0].prefix
    looks = sum(int(group.mask.sum(dim=-1).flatten()[group.slots].sum()) for group in batch.groups)
    return Work(batch.input_ids.numel(), prefix * (prefix + 1) // 2 + looks, len(batch.targets))


def padded_work(rows: int, length: int, logits: int) -> Work:
    """Return the work of ordinary rows padded to one length."""
    return Work(rows * length, rows * length * length, logits)


def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """Return the peak rate of a square matrix product, measured now, in operations per second: the best of several."""
    kind = torch.device(device).type
    side = _PEAK_SIDE[kind]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = left @ right
    best = float("inf")
    for _ in range(_PEAK_TRIALS):
        started = now(device)
        torch.matmul(left, right, out=product)
        best = min(best, now(device) - started)
    return 2 * side**3 / best


def now(device: str) -> float:
    """Return the time in seconds after the device has finished all queued work."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclasses.dataclass(frozen=True)
class Meter:
    """Computes the executed and required operations of a training step, and its rates.

    Attributes:
        dimensions: the model's dimensions; None if the formulas do not hold for it, so that FLOPs are not counted.
        peak: peak rate of a matrix product in operations per second, summed over all ranks.
        checkpointing: whether gradient checkpointing is on.
    """

    dimensions: Dimensions | None
    peak: float
    checkpointing: bool

    def work(self, batches: Sequence[PackedBatch], own: Sequence[PackedBatch]) -> list[int]:
        """Return a rank's tokens, executed operations and required operations for one gradient.

        Args:
            batches: the rank's micro-batches.
            own: those that hold the rank's own examples; the others have weight zero and only keep step with other
                ranks.
        """
        done = sum((executed(batch) for batch in batches), Work(0, 0, 0))
        if self.dimensions is None:
            return [done.tokens, 0, 0]
        needed = sum((required_work(batch) for batch in own), Work(0, 0, 0))
        return [
            done.tokens,
            training_flops(self.dimensions, done, self.checkpointing),
            training_flops(self.dimensions, needed),
        ]

    def rates(self, work: Sequence[float], stages: int, seconds: float) -> dict[str, float | None]:
        """Return the rates of a step for training.jsonl.

        Args:
            work: tokens, executed and required operations of one gradient, summed over all ranks.
            stages: gradient evaluations per step.
            seconds: duration of the step.
        """
        tokens, done, needed = (stages * number for number in work)
        counted = self.dimensions is not None
        return {
            "tokens_per_second": tokens / seconds,
            "gradient_evaluations_per_second": stages / seconds,
            "executed_flops": done if counted else None,
            "floor_flops": needed if counted else None,
            "model_flop_utilisation": needed / seconds / self.peak if counted else None,
        }


def meter(model: PreTrainedModel, device: str, checkpointing: bool) -> Meter:
    """Return the meter of a run; all ranks call it at the same time, because ranks may share cores."""
    peak = torch.tensor(matmul_peak(device, model.dtype), device=device, dtype=torch.float64)
    distributed.all_reduce(peak)
    try:
        found = dimensions(model)
    except RunError as error:
        _LOG.warning("%s", error.what)
        found = None
    return Meter(found, float(peak), checkpointing)
