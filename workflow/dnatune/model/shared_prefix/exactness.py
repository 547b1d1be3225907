"""Checks whether a model computes the same results in shared-prefix rows as in ordinary rows."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import memory_ended
from dnatune.model.classification import classifies
from dnatune.model.label_likelihood import LabelLikelihood
from dnatune.model.shared_prefix.packing import chunks, pack_scoring

_LOG = logging.getLogger(__name__)
#: A token's log-probabilities may differ by the sum of this many nats, `_ROUNDING` times the resolution of the format
#: at the largest value, and `_NOISE` times the effect of padding in ordinary rows: sums in another order round
#: differently.
_TOLERANCE = 5e-5
_ROUNDING = _NOISE = 4
#: Reasons why shared rows are not exact.
NO_HEADS = "the model has no attention heads"
NO_MASK = "the model does not accept dnatune's mask and positions"
LEAK = "an example changes the results of the next example in its row"
#: Number of examples that are scored in both kinds of rows.
_COMPARED = 16


def shared_rows(model: PreTrainedModel, splits: Sequence[EncodedExamples]) -> bool:
    """Return whether examples may share rows; if only ordinary rows are exact, log the reason.

    A model with a classification head reads the sequence alone: there is no prefix to share.

    Args:
        model: a model on its device.
        splits: the encoded splits that the model will process.
    """
    if classifies(model):
        return False
    reason = why_not_shared(model, splits)
    if reason is not None:
        _LOG.warning("using ordinary rows, which are slower, because shared-prefix rows would not be exact: %s", reason)
    return reason is None


@torch.no_grad()
def why_not_shared(model: PreTrainedModel, splits: Sequence[EncodedExamples]) -> str | None:
    """Return why shared rows are not exact for a model, or None if they are exact.

    An attention window shorter than prefix + example is read from the configuration, because the compared examples may
    not be affected by it. Everything else shows in a trial: attention that transformers does not look up by name
    rejects dnatune's mask; recurrent state and convolutions leak from one example into the next, which the gradient
    shows even if the effect is tiny; positions that do not come from `position_ids`, or capped logits, change the
    log-probabilities.

    Args:
        model: a causal model on its device.
        splits: the encoded splits that the model will process.
    """
    config = model.config.get_text_config()
    if getattr(config, "num_attention_heads", None) is None:
        return NO_HEADS
    window = _window(config)
    length = max(map(_longest, splits))
    if window is not None and window < length:
        return f"the model's attention window has {window} tokens, but the longest example with its prefix has {length}"
    examples = splits[0]
    indices = range(min(len(examples), _COMPARED))
    device = next(model.parameters()).device
    likelihood = LabelLikelihood(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()

    def in_ordinary_rows(together: int) -> torch.Tensor:
        # A few at a time, because many examples with all their labels would need more memory than the run itself.
        parts = chunks(indices, together)
        return torch.cat([likelihood(pack_scoring(examples, part, shared=False).to(device)) for part in parts])

    try:
        ordinary, padded = in_ordinary_rows(1), in_ordinary_rows(2)
        try:
            packed = likelihood(pack_scoring(examples, indices, shared=True).to(device))
            leak = _leaks(model, likelihood, examples, device)
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            if memory_ended(error):
                raise
            what = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            return f"{NO_MASK} ({what})"
    finally:
        for module, mode in modes:
            module.training = mode
    if leak:
        return LEAK
    apart, noise = (float((ordinary - other).abs().max()) for other in (packed, padded))
    rounding = torch.finfo(model.dtype).eps * float(ordinary.abs().max())
    if not apart <= _TOLERANCE + _ROUNDING * rounding + _NOISE * noise:
        return f"the model's log-probabilities differ by {apart:.2g} between shared and ordinary rows"
    return None


def _longest(examples: EncodedExamples) -> int:
    return examples.longest_prompt + max(map(len, examples.labels))


def _leaks(model: PreTrainedModel, likelihood: nn.Module, examples: EncodedExamples, device: torch.device) -> bool:
    """Return whether the labels of an example in a shared row depend on the example before it.

    In exact rows that gradient is exactly zero in every format, not merely small. The row holds the same example twice,
    so that packing keeps the order in which they were given.
    """
    batch = pack_scoring(examples, [0, 0], shared=True)
    caught: list[torch.Tensor] = []

    def watch(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        caught.append(output.detach().requires_grad_())
        return caught[-1]

    hook = model.get_input_embeddings().register_forward_hook(watch)
    try:
        with torch.enable_grad():
            seconds = likelihood(batch.to(device))[batch.owners.to(device) >= len(examples.labels)].sum()
            (gradient,) = torch.autograd.grad(seconds, caught)
    finally:
        hook.remove()
    owners = torch.cat([group.owners for group in batch.groups])
    first = (owners == 0).nonzero().flatten() + len(examples.prefix)
    return bool((gradient[0, first.to(device)] != 0).any())


def _window(config: Any) -> int | None:
    """Return the attention window in tokens if the configuration sets and uses one, otherwise None."""
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None)
    used = getattr(config, "use_sliding_window", True)
    if window is None or not used or (layers is not None and "sliding_attention" not in layers):
        return None
    return int(window)
