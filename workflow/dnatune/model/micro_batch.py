"""How much a device holds at once: the micro-batch size, found by trying, and what to do where memory ends."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import ConfigurationError, RunError, memory_ended
from dnatune.model.shared_prefix.packing import Rows, pack_training

_LOG = logging.getLogger(__name__)
#: Tokens behind the prefix in a micro-batch on a CPU, where memory does not end in an error that could be caught.
_ON_CPU = 4096
#: Copies in fp32 of the trained weights that an optimizer keeps which does not say how many: Adam's two and some.
_COPIES = 5
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Fit:
    """What fits.

    Attributes:
        micro_batch_size: examples of one forward pass.
        checkpointing: whether activations are recomputed.
    """

    micro_batch_size: int
    checkpointing: bool


def choose_micro_batch(
    training: dict[str, Any],
    model: Any,
    likelihood: nn.Module,
    train: EncodedExamples,
    shared: bool,
    device: str,
    world: int,
    copies: int | None,
) -> Fit:
    """Return micro-batch size and checkpointing, `auto` resolved; every rank calls it and gets the same answer.

    On a GPU the largest share of a global batch is tried with the longest examples, and halved until forward and
    backward pass fit on every rank; where that leaves too few examples a row, activations are recomputed. Gradients are
    taken outside the engine, so a rank that runs out of memory leaves none waiting.

    Args:
        training: the map `training` of the run.
        model: the model with its adapter.
        likelihood: the `base_models.LabelLikelihood` around it.
        train: encoded training split.
        shared: see `packing.Rows`.
        device: of this rank.
        world: number of ranks.
        copies: copies of the trained weights that the optimizer keeps, see `optimizers.state_copies`.

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
        own = max(map(len, train.examples)) + max(map(len, train.labels)) + (0 if shared else len(train.prefix))
        return Fit(max(1, min(_ON_CPU // own, share)) if size == "auto" else size, checkpointing is True)
    largest = share if size == "auto" else min(size, share)
    fewest = _fewest_unrecomputed(train) if shared and checkpointing == "auto" else 1
    longest = sorted(range(len(train)), key=lambda i: len(train.examples[i]) + len(train.answer(i)), reverse=True)
    if "auto" not in (size, checkpointing):
        return Fit(size, checkpointing)
    trained = sum(p.numel() for p in likelihood.parameters() if p.requires_grad)
    reserve = later_bytes(trained, training["zero_stage"], world, copies)
    for way in [False, True] if checkpointing == "auto" else [checkpointing]:
        least = largest if size != "auto" else 1 if way else min(largest, fewest)
        with checkpointed(model, way):
            found = largest_that_fits(likelihood, train, longest, shared, largest, least, device, reserve)
        if found:
            _LOG.info("micro-batch %d, activations %s", found, "recomputed" if way else "kept")
            return Fit(found, way)
    raise RunError(
        f"{least} examples do not fit into this GPU's memory, activations recomputed or not",
        where="the first forward and backward pass",
        fix="use more GPUs with a higher training.zero_stage, a smaller lora.rank, or GPUs with more memory",
    )


def later_bytes(trained: int, zero_stage: int, world: int, copies: int | None) -> int:
    """Return what training takes of each rank's memory beside what is there when the engine has started.

    That is the gradient in the model's format, at most four bytes, and in fp32, and the optimizer's copies, which ZeRO
    allocates at the first step. ZeRO 1 shares the copies and the fp32 gradient out over the ranks.

    Args:
        trained: trained weights.
        zero_stage: of ZeRO.
        world: number of ranks.
        copies: fp32 copies that the optimizer keeps; None: unknown.
    """
    parts = world if zero_stage else 1
    return trained * 4 + math.ceil(trained / parts) * 4 * (1 + (_COPIES if copies is None else copies))


def _fewest_unrecomputed(train: EncodedExamples) -> int:
    """Return the fewest examples of a shared row that cost less, activations kept, than many with them recomputed.

    Recomputation makes three passes of two. A prefix of P tokens behind which n examples of M tokens stand makes
    n·M tokens n·M + P, which is half as many again at n = 2·P ÷ M.
    """
    own = sum(map(len, train.examples)) / len(train) + max(map(len, train.labels)) - 1
    return max(1, math.ceil(2 * len(train.prefix) / own))


def largest_that_fits(
    likelihood: nn.Module,
    train: EncodedExamples,
    longest: Sequence[int],
    shared: bool,
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
        shared: see `packing.Rows`.
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
            batch = pack_training(train, longest[:size], shared).to(torch.device(device))
            torch.autograd.grad(likelihood(batch).sum(), parameters, allow_unused=True)
        except RuntimeError as error:
            if not memory_ended(error):
                raise
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


def chunks_that_fit(
    task: Callable[[Sequence[int]], _Result], indices: Sequence[int], size: int, halve: bool = True
) -> Iterator[_Result]:
    """Yield what a task makes of consecutive chunks, halved from where a GPU's memory ends.

    Args:
        task: what to do with a chunk; done again with half of it, it must have left nothing behind.
        indices: what the chunks are of.
        size: most in a chunk.
        halve: whether a chunk may be halved. It may not where other ranks take part in each (ZeRO 3).

    Raises:
        RunError: not even one fits.
        RuntimeError: torch's, where a chunk does not fit and may not be halved.
    """
    done = 0
    while done < len(indices):
        chunk = indices[done : done + size]
        try:
            result = task(chunk)
        except RuntimeError as error:
            if not halve or not memory_ended(error):
                raise
        else:
            done += len(chunk)
            yield result
            continue
        # Behind the handler, for the error holds what the task had allocated.
        if len(chunk) == 1:
            raise RunError(
                "this GPU has not the memory for one example",
                where="scoring",
                fix="see whether others use the GPU, or take one with more memory",
            )
        size = -(-len(chunk) // 2)
        torch.cuda.empty_cache()
        _LOG.warning("%d examples at once need more memory than this GPU has left; on with %d", len(chunk), size)


@contextlib.contextmanager
def checkpointed(model: Any, wanted: bool) -> Iterator[None]:
    """Recompute activations in the backward pass, or do not, within the context."""
    base = model.get_base_model()
    if wanted:
        base.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        if wanted:
            base.activation_checkpointing_disable()


@contextlib.contextmanager
def explain_out_of_memory(rows: Rows) -> Iterator[None]:
    """Say what to do where memory ends within the context, though the first try or another GPU had enough."""
    try:
        yield
    except RuntimeError as error:
        if not memory_ended(error):
            raise
        raise RunError(
            f"{rows.micro_batch_size} examples at once need more memory than this GPU has left",
            where="training",
            fix="see whether others use the GPU; where it is smaller than the one that the run began on, give a "
            "smaller training.micro_batch_size, with which it begins anew",
        ) from None
