"""Whether a model computes in shared-prefix rows what it computes in ordinary ones."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import memory_ended
from dnatune.model.base_models import LabelLikelihood
from dnatune.model.shared_prefix.packing import chunks, pack_scoring

_LOG = logging.getLogger(__name__)
#: Log-probabilities of a token may differ by this many nats, by `_ROUNDING` times what the format resolves of the
#: largest, and by `_NOISE` times what padding changes in ordinary rows: sums in another order round otherwise.
_TOLERANCE = 5e-5
_ROUNDING = _NOISE = 4
#: Examples that go both ways.
_COMPARED = 16


def shared_rows(model: PreTrainedModel, splits: Sequence[EncodedExamples]) -> bool:
    """Tell whether examples may share rows; where only ordinary rows are exact, a line in the log says why.

    Args:
        model: a causal model on its device.
        splits: encoded splits that it will be given.
    """
    reason = why_not_shared(model, splits)
    if reason is not None:
        _LOG.warning("ordinary rows: %s, so rows that share a prefix would not be exact; this is slower", reason)
    return reason is None


@torch.no_grad()
def why_not_shared(model: PreTrainedModel, splits: Sequence[EncodedExamples]) -> str | None:
    """Return why a model cannot be served exactly by shared rows, or None if it can.

    A window narrower than an example with its prefix is read off the configuration, for it may leave the first examples
    untouched. All else shows: attention that is not looked up by name takes no mask of ours; recurrent state and
    convolutions let an example reach into the next, which its gradient tells however little it is; positions that do
    not come from `position_ids`, or a cap on the logits, change the numbers.

    Args:
        model: a causal model on its device.
        splits: encoded splits that it will be given.
    """
    config = model.config.get_text_config()
    if getattr(config, "num_attention_heads", None) is None:
        return "the model has no attention heads"
    window = _window(config)
    length = max(map(_longest, splits))
    if window is not None and window < length:
        return f"the model's attention has a window of {window} tokens, and an example {length}"
    examples = splits[0]
    indices = range(min(len(examples), _COMPARED))
    device = next(model.parameters()).device
    likelihood = LabelLikelihood(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()

    def in_ordinary_rows(together: int) -> torch.Tensor:
        # Few at a time: with all their labels many would need more memory than the run itself.
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
            return f"the model takes no mask and positions of ours ({what})"
    finally:
        for module, mode in modes:
            module.training = mode
    if leak:
        return "an example changes what the model makes of the next one in its row"
    apart, noise = (float((ordinary - other).abs().max()) for other in (packed, padded))
    rounding = torch.finfo(model.dtype).eps * float(ordinary.abs().max())
    if not apart <= _TOLERANCE + _ROUNDING * rounding + _NOISE * noise:
        return f"the model's log-probabilities differ by {apart:.2g} between shared and ordinary rows"
    return None


def _longest(examples: EncodedExamples) -> int:
    return len(examples.prefix) + max(map(len, examples.examples)) + max(map(len, examples.labels))


def _leaks(model: PreTrainedModel, likelihood: nn.Module, examples: EncodedExamples, device: torch.device) -> bool:
    """Tell whether the labels of an example in a shared row depend on the example before it at all.

    Exact rows make that gradient zero, not small, in every format. It is one example twice, so that the two stand in
    the order in which they were given.
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
    """Return the attention window that a configuration names and uses, in tokens."""
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None)
    used = getattr(config, "use_sliding_window", True)
    if window is None or not used or (layers is not None and "sliding_attention" not in layers):
        return None
    return int(window)
