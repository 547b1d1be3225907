"""Whether a model computes in shared-prefix rows what it computes in ordinary ones."""

import logging
from typing import Any

import torch
from transformers import PreTrainedModel

from dnatune.models import LabelLikelihood
from dnatune.packing import chunks, pack_scoring
from dnatune.prompts import EncodedExamples

_LOG = logging.getLogger(__name__)
#: Log-probabilities of a token may differ by this much, nats. What a wrong mask or position does is ten times as much;
#: half precision alone, in sums of another order, comes near the second and third.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}
#: Examples that go both ways.
_COMPARED = 16


def shared_rows(model: PreTrainedModel, examples: EncodedExamples) -> bool:
    """Tell whether examples may share rows; where only ordinary rows are exact, a line in the log says why.

    Args:
        model: a causal model on its device.
        examples: an encoded split.
    """
    reason = obstacle(model, examples)
    if reason is not None:
        _LOG.warning("ordinary rows: %s, so rows that share a prefix would not be exact; this is slower", reason)
    return reason is None


@torch.no_grad()
def obstacle(model: PreTrainedModel, examples: EncodedExamples) -> str | None:
    """Return why a model cannot be served exactly by shared rows, or None if it can.

    A window narrower than an example with its prefix is read off the configuration, for it may leave the first examples
    untouched. All else (attention that is not looked up by name, positions that do not come from `position_ids`,
    recurrent state, a cap on the logits) shows in numbers: some examples with all their labels go through the model
    both ways.

    Args:
        model: a causal model on its device.
        examples: an encoded split.
    """
    config = model.config.get_text_config()
    if getattr(config, "num_attention_heads", None) is None:
        return "the model has no attention heads"
    window = _window(config)
    length = len(examples.prefix) + max(map(len, examples.examples)) + max(map(len, examples.labels))
    if window is not None and window < length:
        return f"the model's attention has a window of {window} tokens, and an example {length}"
    indices = range(min(len(examples), _COMPARED))
    device = next(model.parameters()).device
    likelihood = LabelLikelihood(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        # One example at a time: with all their labels several would need more memory than the run itself.
        parts = [likelihood(pack_scoring(examples, part, shared=False).to(device)) for part in chunks(indices, 1)]
        ordinary = torch.cat(parts)
        try:
            packed = likelihood(pack_scoring(examples, indices, shared=True).to(device))
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            what = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            return f"the model takes no mask and positions of ours ({what})"
    finally:
        for module, mode in modes:
            module.training = mode
    apart = float((ordinary - packed).abs().max())
    if not apart <= _TOLERANCE[model.dtype]:
        return f"the model's log-probabilities differ by {apart:.2g} between shared and ordinary rows"
    return None


def _window(config: Any) -> int | None:
    """Return the attention window that a configuration names and uses, in tokens."""
    window = getattr(config, "sliding_window", None)
    layers = getattr(config, "layer_types", None)
    used = getattr(config, "use_sliding_window", True)
    if window is None or not used or (layers is not None and "sliding_attention" not in layers):
        return None
    return int(window)
