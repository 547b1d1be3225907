"""What a batch costs: floating-point operations executed and needed, and the peak they are held against.

A multiplication and an addition are two operations. Only matrix products are counted, as is usual (Chowdhery et al.
2022, arXiv 2204.02311, appendix B); norms, activations, softmax and the embedding look-up are left out. So is what an
attention kernel recomputes inside its own backward pass.
"""

import dataclasses
import logging
import time
from collections.abc import Sequence

import torch
from torch import distributed, nn
from transformers import PreTrainedModel

from dnatune.errors import RunError
from dnatune.model.shared_prefix.packing import FEWEST_LOGITS, PackedBatch

_LOG = logging.getLogger(__name__)
#: Side of the square matrices whose product gives the peak: large enough to fill the device, small enough to be quick.
_PEAK_SIDE = {"cpu": 2048, "cuda": 8192}
_PEAK_TRIALS = 4


@dataclasses.dataclass(frozen=True)
class Dimensions:
    """What of a model decides its operations.

    Attributes:
        layers: decoder layers.
        attention_width: attention heads × their width.
        frozen: weights of the decoder's linear layers that are not trained.
        trained: weights of the decoder's linear layers that are trained: the adapter, and modules trained in full.
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
    """What of a batch decides its operations.

    Attributes:
        tokens: tokens that go through the decoder.
        context: tokens that each token looks at, summed over the tokens.
        logits: tokens whose logits are computed.
    """

    tokens: int
    context: int
    logits: int

    def __add__(self, other: "Work") -> "Work":
        """Return the work of both batches."""
        return Work(self.tokens + other.tokens, self.context + other.context, self.logits + other.logits)


def dimensions(model: PreTrainedModel) -> Dimensions:
    """Return the dimensions of a Llama-like causal model, an adapter inside it included.

    Raises:
        RunError: the formulas are not this model's.
    """
    config = model.config
    if getattr(config, "num_attention_heads", None) is None:
        raise RunError("FLOPs cannot be counted: the model has no attention heads")
    unknown = _unknown_weights(model.get_decoder())
    if unknown:
        raise RunError(f"FLOPs cannot be counted: {unknown[0]} is no linear layer's weight")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = {True: 0, False: 0}
    for name, module in model.get_decoder().named_modules():
        # peft keeps the untrained original of a module that is trained in full; nothing goes through it.
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
    """Return the names of a decoder's matrices whose products the formulas do not know."""
    layers = (module for module in decoder.modules() if isinstance(module, nn.Linear | nn.Embedding))
    known = {id(module.weight) for module in layers}
    return [name for name, p in decoder.named_parameters() if p.dim() > 1 and id(p) not in known]


def training_flops(model: Dimensions, work: Work, checkpointing: bool = False) -> int:
    """Return the operations of forward and backward pass.

    A weight costs 2 operations a token forward, 2 for its input's gradient and, if it is trained, 2 for its own. Scores
    and mixing cost attention 4 × width a token of context, and twice that backward. Checkpointing runs the decoder
    forward again. Inputs of the first layer are taken to need a gradient, as they do with trained embeddings.

    Args:
        model: the model's dimensions.
        work: the batch's.
        checkpointing: whether activations are recomputed in the backward pass.
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
    """Return what is done with a packed batch: padding and the masks' empty squares are work too."""
    if not batch.groups:
        return padded_work(*batch.input_ids.shape, batch.input_ids.numel())
    # The prefix attends to itself, then every example to the prefix and to itself, padded to the longest of its group.
    context = batch.groups[0].prefix ** 2 + sum(group.mask.numel() for group in batch.groups)
    return Work(batch.input_ids.numel(), context, max(FEWEST_LOGITS, len(batch.targets)))


def required_work(batch: PackedBatch) -> Work:
    """Return what a packed batch needs: each of its tokens once, and of the mask only what it lets through."""
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
    """Return the most operations a second that a square matrix product reached here and now, best of several."""
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
    """Return the time in seconds, after all that the device still had to do."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@dataclasses.dataclass(frozen=True)
class Meter:
    """What a training step executed, needed and could have done.

    Attributes:
        dimensions: of the model; None where the formulas do not hold for it, and nothing is counted.
        peak: operations a second of a matrix product, over all ranks.
        checkpointing: whether activations are recomputed.
    """

    dimensions: Dimensions | None
    peak: float
    checkpointing: bool

    def work(self, batches: Sequence[PackedBatch], own: Sequence[PackedBatch]) -> list[int]:
        """Return tokens, executed and needed operations of a rank for one gradient.

        Args:
            batches: its micro-batches.
            own: those of them that hold its share; one more may only keep step with the other ranks.
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
        """Return what training.jsonl says of a step.

        Args:
            work: tokens, executed and needed operations of one gradient, over all ranks.
            stages: gradient evaluations of the step.
            seconds: how long it took.
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
    """Return the meter of a run; every rank calls it at the same time, so that the peaks are those of shared cores."""
    peak = torch.tensor(matmul_peak(device, model.dtype), device=device, dtype=torch.float64)
    distributed.all_reduce(peak)
    try:
        found = dimensions(model)
    except RunError as error:
        _LOG.warning("%s", error.what)
        found = None
    return Meter(found, float(peak), checkpointing)
