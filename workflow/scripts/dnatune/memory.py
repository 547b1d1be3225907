"""How much of a batch a device holds at once: the micro-batch size, found by trying."""

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import distributed, nn

from dnatune.errors import ConfigurationError, RunError
from dnatune.packing import pack_training
from dnatune.prompts import EncodedExamples

_LOG = logging.getLogger(__name__)
#: Micro-batch on a CPU, examples. Memory does not end there in an error that could be caught.
_ON_CPU = 32
#: Bytes a trained weight needs once training runs, beside what exists when the engine has started: its gradient, in
#: the model's format and in fp32, and up to five fp32 copies of an optimizer's own.
_LATER_BYTES = 4 + 4 + 5 * 4


@dataclasses.dataclass(frozen=True)
class Fit:
    """What fits.

    Attributes:
        micro_batch_size: examples of one forward pass.
        checkpointing: whether activations are recomputed.
    """

    micro_batch_size: int
    checkpointing: bool


def fit(
    training: dict[str, Any],
    model: Any,
    likelihood: nn.Module,
    train: EncodedExamples,
    examples_per_row: int | None,
    device: str,
    world: int,
) -> Fit:
    """Return micro-batch size and checkpointing, `auto` resolved; every rank calls it and gets the same answer.

    On a GPU the largest share of a global batch is tried with the longest examples, and halved until forward and
    backward pass fit on every rank; if one row does not fit, activations are recomputed. Gradients are taken outside
    the engine, so a rank that runs out of memory leaves none waiting.

    Args:
        training: the map `training` of the run.
        model: the model with its adapter.
        likelihood: the `models.LabelLikelihood` around it.
        train: encoded training split.
        examples_per_row: see `packing.Rows`.
        device: of this rank.
        world: number of ranks.

    Raises:
        ConfigurationError: `auto` with ZeRO 3, whose ranks fetch each other's weights in the forward pass.
        RunError: not even one example fits.
    """
    size, checkpointing = training["micro_batch_size"], training["gradient_checkpointing"]
    share = -(-min(training["global_batch_size"], len(train)) // world)
    on_gpu = device != "cpu"
    if "auto" in (size, checkpointing) and on_gpu and training["zero_stage"] == 3:
        raise ConfigurationError(
            "ZeRO 3 leaves no way to try what fits: its ranks wait for each other within the forward pass",
            where="config keys 'training.micro_batch_size' and 'training.gradient_checkpointing'",
            fix="give a number and yes or no, or use zero_stage 2",
        )
    if not on_gpu:
        return Fit(min(_ON_CPU, share) if size == "auto" else size, checkpointing is True)
    largest = share if size == "auto" else min(size, share)
    least = min(largest, examples_per_row or 1) if size == "auto" else largest
    longest = sorted(range(len(train)), key=lambda i: len(train.examples[i]) + len(train.answer(i)), reverse=True)
    if "auto" not in (size, checkpointing):
        return Fit(size, checkpointing)
    reserve = _LATER_BYTES * sum(p.numel() for p in likelihood.parameters() if p.requires_grad)
    for way in [False, True] if checkpointing == "auto" else [checkpointing]:
        with checkpointed(model, way):
            found = largest_that_fits(likelihood, train, longest, examples_per_row, largest, least, device, reserve)
        if found:
            _LOG.info("micro-batch %d, activations %s", found, "recomputed" if way else "kept")
            return Fit(found, way)
    raise RunError(
        f"{least} examples do not fit into this GPU's memory, activations recomputed or not",
        where="the first forward and backward pass",
        fix="use more GPUs with a higher training.zero_stage, a smaller lora.rank, or GPUs with more memory",
    )


def largest_that_fits(
    likelihood: nn.Module,
    train: EncodedExamples,
    longest: Sequence[int],
    examples_per_row: int | None,
    largest: int,
    least: int,
    device: str,
    reserve: int,
) -> int:
    """Return the largest micro-batch that fits on every rank, halving from `largest`, or 0 if `least` does not.

    Args:
        likelihood: the module whose gradient is taken.
        train: encoded training split.
        longest: its examples, longest first.
        examples_per_row: see `packing.Rows`.
        largest: examples to begin with.
        least: examples to end with.
        device: of this rank.
        reserve: bytes to keep free meanwhile.
    """
    parameters = [p for p in likelihood.parameters() if p.requires_grad]
    size = largest
    while True:
        fits = torch.tensor(1, device=device)
        kept = batch = None
        try:
            kept = torch.empty(reserve, dtype=torch.uint8, device=device)
            batch = pack_training(train, longest[:size], examples_per_row).to(torch.device(device))
            torch.autograd.grad(likelihood(batch).sum(), parameters, allow_unused=True)
        except torch.OutOfMemoryError:
            fits.zero_()
        # Given up before the next try, not when it is done.
        del kept, batch
        if device != "cpu":
            torch.cuda.empty_cache()
        distributed.all_reduce(fits, op=distributed.ReduceOp.MIN)
        if fits.item():
            return size
        if size <= least:
            return 0
        size = max(least, -(-size // 2))


@contextlib.contextmanager
def checkpointed(model: Any, wanted: bool) -> Iterator[None]:
    """Recompute activations in the backward pass, or do not, within the context."""
    base = model.get_base_model()
    if wanted:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        if wanted:
            base.gradient_checkpointing_disable()
