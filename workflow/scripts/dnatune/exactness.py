"""Whether a model computes in shared-prefix rows what it computes in ordinary ones."""

import logging
from typing import Any

import torch
from transformers import PreTrainedModel

from dnatune import accounting
from dnatune.models import LabelLikelihood
from dnatune.packing import examples_per_row, pack_scoring
from dnatune.prompts import EncodedExamples

_LOG = logging.getLogger(__name__)
#: Log-probabilities of a token may differ by this much, nats. What a wrong mask or position does is ten times as much;
#: half precision alone, in sums of another order, comes near the second and third.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}


def usable_rows(model: PreTrainedModel, examples: EncodedExamples, scoring: bool = False) -> int | None:
    """Return how many examples share a row; None, with a line in the log, where only ordinary rows are exact.

    Args:
        model: a causal model on its device.
        examples: an encoded split.
        scoring: whether rows carry every label.
    """
    try:
        break_even = accounting.break_even(accounting.dimensions(model))
    except AttributeError:
        per_row, reason = 1, "the model has no attention heads"
    else:
        per_row = examples_per_row(examples, break_even, scoring)
        reason = obstacle(model, examples, per_row)
    if reason is None:
        return per_row
    _LOG.warning("ordinary rows: %s, so rows that share a prefix would not be exact; this is slower", reason)
    return None


@torch.no_grad()
def obstacle(model: PreTrainedModel, examples: EncodedExamples, examples_per_row: int) -> str | None:
    """Return why a model cannot be served exactly by shared rows, or None if it can.

    A window narrower than a row is read off the configuration, for it may leave the first examples untouched. All else
    (positions that do not come from `position_ids`, recurrent state, a cap on the logits) shows in numbers: some
    examples with all their labels go through the model both ways.

    Args:
        model: a causal model on its device.
        examples: an encoded split.
        examples_per_row: examples that share one prefix.
    """
    indices = range(min(len(examples), examples_per_row + 1))
    device = next(model.parameters()).device
    shared = pack_scoring(examples, indices, examples_per_row).to(device)
    length = shared.input_ids.shape[1]
    window = _window(model.config.get_text_config())
    if window is not None and window < length:
        return f"the model's attention has a window of {window} tokens, and a shared row {length}"
    likelihood = LabelLikelihood(model)
    training, _ = model.training, model.eval()
    try:
        ordinary = likelihood(pack_scoring(examples, indices, None).to(device))
        try:
            packed = likelihood(shared)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            what = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
            return f"the model takes no mask and positions of ours ({what})"
    finally:
        model.train(training)
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
