"""Attention over a shared prefix: each example attends to the prefix and to itself; nothing else is computed.

Dense attention over a row of T tokens costs T² operations and an explicit T × T mask. Here the N examples after a
prefix of P tokens become a batch: each has at most M tokens, which attend to P + M tokens. The cost is N·M·(P + M), so
a row may hold as many examples as fit into memory. If the lengths of the examples differ much, there is one batch per
length (`packing.side_by_side`). transformers looks up a model's attention function by name
(https://huggingface.co/docs/transformers/attention_interface). The function registered here takes one more argument,
`groups`; without it, it calls transformers' own SDPA function.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dnatune.model.shared_prefix.packing import Group

#: Name of this attention in the configuration of a prepared model.
NAME = "dnatune_shared_prefix"


def prepare(model: PreTrainedModel) -> None:
    """Switch a model to attention that accepts `groups`.

    A model that does not use SDPA, or does not look up its attention by name, is left unchanged.

    Args:
        model: a causal model.
    """
    # transformers checks the same before it changes a model's attention, but would warn; `exactness` reports the cause.
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)


def shared_prefix_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    groups: Sequence[Group] = (),
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within one row that holds a prefix and the examples after it.

    No two tokens share a slot, so neither the forward nor the backward pass depends on an order of summation.

    Args:
        module: the attention layer.
        query: [1, heads, tokens, width]; the prefix first, then the tokens of all examples.
        key, value: the same shape, possibly with fewer heads.
        attention_mask: the mask from transformers; ignored if there are groups.
        groups: the examples after the prefix, see `packing.Group`. If there are none, the rows are ordinary and
            transformers' own function is used.
        options: further arguments from transformers.

    Returns:
        The attention output of each token [1, tokens, heads, width], and None for the weights.
    """
    if not groups:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    with _without_plans(query.device):
        return attend_in_groups(module, query, key, value, groups, **options), None


@contextlib.contextmanager
def _without_plans(device: torch.device) -> Iterator[None]:
    """Exclude cuDNN's attention kernel on a GPU; torch may prefer it on the newest GPUs.

    cuDNN builds a plan for every new shape, and the rows of a run have many shapes; the other kernels build no plans.
    The first call of a shape took 272 to 2,220 ms, later calls 4.45 ms (benchmarks/README.md).
    """
    if device.type == "cpu":
        yield
        return
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        yield


def attend_in_groups(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: Sequence[Group],
    **options: Any,
) -> torch.Tensor:
    """Return the attention output of each token of the prefix and the groups [1, tokens, heads, width]."""
    prefix = groups[0].prefix
    parts = []
    if prefix:
        first, _ = sdpa_attention_forward(
            module, query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], None, **options
        )
        parts.append(first)
    start = prefix
    for group in groups:
        own = slice(start, start + len(group.slots))
        start = own.stop
        attended, _ = sdpa_attention_forward(
            module,
            _spread(query[0, :, own], group),
            *(torch.cat([_to_all(states, group), _spread(states[0, :, own], group)], dim=2) for states in (key, value)),
            group.mask,
            **options,
        )
        parts.append(attended.flatten(0, 1).index_select(0, group.slots)[None])
    return torch.cat(parts, dim=1)


def _spread(states: torch.Tensor, group: Group) -> torch.Tensor:
    """Return a group's states [heads, tokens, width] as [examples, heads, tokens of the longest example, width]."""
    tokens = states.transpose(0, 1)
    examples = len(group.examples)
    grid = tokens.new_zeros(examples * group.own, *tokens.shape[1:]).index_copy(0, group.slots, tokens)
    return grid.view(examples, group.own, *tokens.shape[1:]).transpose(1, 2)


def _to_all(states: torch.Tensor, group: Group) -> torch.Tensor:
    """Return the states of the prefix, repeated for each example of a group [examples, heads, prefix, width]."""
    return states[:, :, : group.prefix].expand(len(group.examples), -1, -1, -1)


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
