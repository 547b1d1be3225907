"""The micro-batch size, found by trial on the device, and what happens if memory runs out."""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import ConfigurationError, RunError, memory_ended
from dnatune.model.shared_prefix.packing import Rows, pack_training
from dnatune.settings.training import AutoOrCount, Training

_LOG = logging.getLogger(__name__)
#: Tokens after the prefix per micro-batch on a CPU, where running out of memory raises no error that can be caught.
_ON_CPU = 4096
#: Tokens per forward pass of scoring on a GPU: its matrix products are as fast as with more.
_SCORED_ON_GPU = 16384
#: Most examples per forward pass of scoring on a CPU: the prefix is then a small part of the row.
_SCORED_ON_CPU = 64
#: fp32 copies of the trained weights that are assumed for an optimizer with an unknown number: Adam keeps two.
_COPIES = 5
_Result = TypeVar("_Result")


def choose_micro_batch(
    training: Training,
    model: Any,
    likelihood: nn.Module,
    train: EncodedExamples,
    shared: bool,
    device: str,
    world: int,
    copies: int | None,
) -> Rows:
    """Return the rows of training with `auto` resolved; all ranks get the same result.

    On a GPU, the rank's whole share of a global batch is tried with the longest examples, and halved until the forward
    and backward pass fit on every rank. If that leaves too few examples per row, gradient checkpointing is turned on.
    The trials run outside the engine, so a rank that runs out of memory does not leave the other ranks waiting.

    Args:
        training: how the run is trained.
        model: the model with its adapter.
        likelihood: the `label_likelihood.LabelLikelihood` around the model.
        train: encoded training split.
        shared: see `packing.Rows`.
        device: device of this rank.
        world: number of ranks.
        copies: copies of the trained weights that the optimizer keeps, see `optimizers.state_copies`.

    Raises:
        ConfigurationError: `auto` with ZeRO 3, whose ranks fetch each other's weights in the forward pass.
        RunError: not even one example fits.
    """
    size, checkpointing = training.micro_batch_size, training.gradient_checkpointing
    share = -(-min(training.global_batch_size, len(train)) // world)
    if device == "cpu":
        own = max(map(len, train.examples)) + max(map(len, train.labels)) + (0 if shared else len(train.prefix))
        return Rows(shared, max(1, min(_ON_CPU // own, share)) if size == "auto" else size, checkpointing is True)
    if "auto" not in (size, checkpointing):
        return Rows(shared, size, checkpointing)
    if training.zero_stage == 3:
        raise ConfigurationError(
            "'auto' cannot be used with ZeRO 3, because its ranks wait for each other within the forward pass",
            where="config keys 'training.micro_batch_size' and 'training.gradient_checkpointing'",
            fix="give a number for micro_batch_size and true or false for gradient_checkpointing, or use zero_stage 2",
        )
    largest = share if size == "auto" else min(size, share)
    fewest = _fewest_without_checkpointing(train) if shared and checkpointing == "auto" else 1
    parameters = [p for p in likelihood.parameters() if p.requires_grad]
    reserve = later_bytes(sum(p.numel() for p in parameters), training.zero_stage, world, copies)

    def attempt(indices: Sequence[int]) -> None:
        batch = pack_training(train, indices, shared).to(torch.device(device))
        torch.autograd.grad(likelihood(batch).sum(), parameters, allow_unused=True)

    for way in [False, True] if checkpointing == "auto" else [checkpointing]:
        least = largest if size != "auto" else 1 if way else min(largest, fewest)
        with checkpointed(model, way):
            found = largest_that_fits(attempt, train, largest, least, device, reserve)
        if found:
            _LOG.info("micro-batch %d, gradient checkpointing %s", found, "on" if way else "off")
            return Rows(shared, found, way)
    raise RunError(
        f"a micro-batch of {least} does not fit into this GPU's memory, with or without gradient checkpointing",
        where="the first forward and backward pass",
        fix="use more GPUs with a higher training.zero_stage, a smaller lora.rank, or GPUs with more memory",
    )


def later_bytes(trained: int, zero_stage: int, world: int, copies: int | None) -> int:
    """Return the bytes that training allocates on each rank after the engine has started.

    These are the gradient in the model's format (at most four bytes per weight), the gradient in fp32, and the
    optimizer's copies, which ZeRO allocates at the first step. From ZeRO 1 on, the copies and the fp32 gradient are
    sharded over the ranks.

    Args:
        trained: number of trained weights.
        zero_stage: ZeRO stage, 0 to 3.
        world: number of ranks.
        copies: fp32 copies that the optimizer keeps; None if unknown.
    """
    parts = world if zero_stage else 1
    return trained * 4 + math.ceil(trained / parts) * 4 * (1 + (_COPIES if copies is None else copies))


def _fewest_without_checkpointing(train: EncodedExamples) -> int:
    """Return the smallest number of examples per shared row that is cheaper than gradient checkpointing.

    Gradient checkpointing makes three passes out of two. With n examples of M tokens, a prefix of P tokens raises the
    number of tokens from n·M to n·M + P, which is the same factor of 1.5 at n = 2·P ÷ M.
    """
    own = sum(map(len, train.examples)) / len(train) + max(map(len, train.labels)) - 1
    return max(1, math.ceil(2 * len(train.prefix) / own))


def largest_that_fits(
    attempt: Callable[[Sequence[int]], None],
    train: EncodedExamples,
    largest: int,
    least: int,
    device: str,
    reserve: int,
) -> int:
    """Return the largest micro-batch that fits on every rank, halving from `largest`, or 0 if `least` does not.

    Args:
        attempt: computes the gradient of the examples with the given indices and keeps nothing of it.
        train: encoded training split.
        largest: number of examples to try first.
        least: number of examples to try last.
        device: device of this rank.
        reserve: bytes to keep free during the trials.
    """
    longest = sorted(range(len(train)), key=lambda i: len(train.examples[i]) + len(train.answer(i)), reverse=True)
    size = largest
    while True:
        fits = torch.tensor(1, device=device)
        kept = None
        try:
            kept = torch.empty(reserve, dtype=torch.uint8, device=device)
            attempt(longest[:size])
        except RuntimeError as error:
            if not memory_ended(error):
                raise
            fits.zero_()
        # Freed before the next trial, not after it.
        del kept
        if device != "cpu":
            torch.cuda.empty_cache()
        distributed.all_reduce(fits, op=distributed.ReduceOp.MIN)
        if fits.item():
            return size
        if size <= least:
            return 0
        size = max(least, -(-size // 2))


def scoring_batch(chosen: AutoOrCount, tokens: int, items: int, device: str) -> int:
    """Return the number of examples per forward pass of scoring, from which `chunks_that_fit` starts.

    Args:
        chosen: `evaluation.batch_size`.
        tokens: tokens that the longest example adds to a forward pass.
        items: number of examples that this rank gets if all get as many.
        device: device of this rank.
    """
    if chosen != "auto":
        return chosen
    # On a CPU the number of ranks does not count, so that any number of them rounds alike.
    held, most = (_ON_CPU, _SCORED_ON_CPU) if device == "cpu" else (_SCORED_ON_GPU, items)
    return max(1, min(held // tokens, most))


def chunks_that_fit(
    task: Callable[[Sequence[int]], _Result], indices: Sequence[int], size: int, halve: bool = True
) -> Iterator[_Result]:
    """Yield the results of a task for consecutive chunks, which are halved if a GPU runs out of memory.

    Args:
        task: processes a chunk; it must have no side effects, because it is repeated with half the chunk.
        indices: the indices to divide into chunks.
        size: maximum size of a chunk.
        halve: whether a chunk may be halved. This is not possible if other ranks take part in each chunk (ZeRO 3).

    Raises:
        RunError: not even one example fits.
        RuntimeError: torch's error, if a chunk does not fit and may not be halved.
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
        # After the handler, because the error keeps the task's allocations alive.
        if len(chunk) == 1:
            raise RunError(
                "one example does not fit into this GPU's memory",
                where="scoring",
                fix="check whether other processes use the GPU, or use a GPU with more memory",
            )
        size = -(-len(chunk) // 2)
        torch.cuda.empty_cache()
        _LOG.warning("%d examples at once need more memory than this GPU has left; going on with %d", len(chunk), size)


@contextlib.contextmanager
def checkpointed(model: Any, wanted: bool) -> Iterator[None]:
    """Turn gradient checkpointing on within the context, if wanted.

    Raises:
        ConfigurationError: the model's class does not offer it.
    """
    base = model.get_base_model()
    if wanted and not base.supports_gradient_checkpointing:
        raise ConfigurationError(
            f"{type(base).__name__} has no gradient checkpointing",
            where="config key 'training.gradient_checkpointing'",
            fix="set it to false; if memory runs out, set a smaller training.micro_batch_size",
        )
    if wanted:
        base.activation_checkpointing_enable({"use_reentrant": False})
    try:
        yield
    finally:
        if wanted:
            base.activation_checkpointing_disable()


@contextlib.contextmanager
def explain_out_of_memory(rows: Rows) -> Iterator[None]:
    """Explain what to do if memory runs out within the context, although the trial or another GPU had enough."""
    try:
        yield
    except RuntimeError as error:
        if not memory_ended(error):
            raise
        raise RunError(
            f"{rows.micro_batch_size} examples at once need more memory than this GPU has left",
            where="training",
            fix="check whether other processes use the GPU; if the run began on a larger GPU, set a smaller "
            "training.micro_batch_size, with which the run begins again",
        ) from None
