"""Attention over a shared prefix: each example attends to the prefix and to itself, and to nothing else is computed.

Dense attention over a row of T tokens costs T² and an explicit T × T mask. Here N examples behind a prefix of P tokens
become a batch of their own, each with M tokens at most that attend to P + M: N·M·(P + M) in all, so a row may hold as
many examples as fit into memory; where their lengths differ much, a batch for each length (`packing.side_by_side`).
transformers hands its models' attention to a function by name
(https://huggingface.co/docs/transformers/attention_interface); ours has one more argument, `groups`, and is without it
transformers' own for SDPA.
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

#: What the configuration of a prepared model calls it.
NAME = "dnatune_shared_prefix"


def prepare(model: PreTrainedModel) -> None:
    """Let a model's attention take `groups`.

    A model that attends in another way than by SDPA, or does not look its attention up by name, stays as it is.

    Args:
        model: a causal model.
    """
    # What transformers itself asks before it changes a model's attention; it would warn, and `exactness` tells anyway.
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
    """Attend within one row of a prefix and the examples behind it.

    No two tokens share a slot, so that forward and backward pass add nothing up in an order of their own.

    Args:
        module: the attention layer.
        query: [1, heads, tokens, width]; the prefix first, then the tokens of all examples.
        key, value: likewise; heads may be fewer.
        attention_mask: what transformers hands on; of no account where there are groups.
        groups: the examples behind the prefix, see `packing.Group`. Without any, rows are ordinary and everything is
            transformers' own.
        options: as transformers gives them.

    Returns:
        What each token has attended to [1, tokens, heads, width], and None for the weights.
    """
    if not groups:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    with _without_plans(query.device):
        return attend_in_groups(module, query, key, value, groups, **options), None


@contextlib.contextmanager
def _without_plans(device: torch.device) -> Iterator[None]:
    """Leave cuDNN's attention out on a GPU, which torch may put first on the newest of them.

    It builds a plan for every new shape, measured elsewhere at a second for both passes
    (https://github.com/modelscope/FunASR/issues/3704), and rows of DNA have many shapes. Other kernels build none.
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
    """Return what each token of prefix and groups has attended to [1, tokens, heads, width]."""
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
    """Return the states [heads, tokens, width] of a group as [examples, heads, most own tokens, width]."""
    tokens = states.transpose(0, 1)
    examples = len(group.examples)
    grid = tokens.new_zeros(examples * group.own, *tokens.shape[1:]).index_copy(0, group.slots, tokens)
    return grid.view(examples, group.own, *tokens.shape[1:]).transpose(1, 2)


def _to_all(states: torch.Tensor, group: Group) -> torch.Tensor:
    """Return the prefix's states for each example of a group [examples, heads, prefix, width]."""
    return states[:, :, : group.prefix].expand(len(group.examples), -1, -1, -1)


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
