"""Attention over a shared prefix: each example attends to the prefix and to itself, and to nothing else is computed.

Dense attention over a row of T tokens costs T² and an explicit T × T mask. Here the N examples behind a prefix of P
tokens become a batch of their own, each with M tokens at most that attend to P + M: N·M·(P + M) in all, so a row may
hold as many examples as fit into memory. transformers hands its models' attention to a function by name
(https://huggingface.co/docs/transformers/attention_interface); ours has one more argument, `slots`, and is without it
transformers' own for SDPA.
"""

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

#: What the configuration of a prepared model calls it.
NAME = "dnatune_shared_prefix"


def prepare(model: PreTrainedModel) -> None:
    """Let a model's attention take `slots`.

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
    slots: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within one row of a prefix and the examples behind it.

    No two tokens share a slot, so that forward and backward pass add nothing up in an order of their own.

    Args:
        module: the attention layer.
        query: [1, heads, tokens, width]; the prefix first, then the tokens of all examples.
        key, value: likewise; heads may be fewer.
        attention_mask: True where a token of an example may look: [examples, 1, most own tokens, prefix + most own
            tokens].
        slots: where each token behind the prefix stands in examples × most own tokens [tokens - prefix]. None: ordinary
            rows, and everything is transformers' own.
        options: as transformers gives them.

    Returns:
        What each token has attended to [1, tokens, heads, width], and None for the weights.
    """
    if slots is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    examples, _, own, seen = attention_mask.shape
    prefix = seen - own

    def behind(states: torch.Tensor) -> torch.Tensor:
        """Return the states behind the prefix as [examples, heads, most own tokens, width]."""
        tokens = states[0, :, prefix:].transpose(0, 1)
        grid = tokens.new_zeros(examples * own, *tokens.shape[1:]).index_copy(0, slots, tokens)
        return grid.view(examples, own, *tokens.shape[1:]).transpose(1, 2)

    def all_seen(states: torch.Tensor) -> torch.Tensor:
        return torch.cat([states[:, :, :prefix].expand(examples, -1, -1, -1), behind(states)], dim=2)

    attended, _ = sdpa_attention_forward(
        module, behind(query), all_seen(key), all_seen(value), attention_mask, **options
    )
    attended = attended.flatten(0, 1).index_select(0, slots)[None]
    if prefix:
        first, _ = sdpa_attention_forward(
            module, query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], None, **options
        )
        attended = torch.cat([first, attended], dim=1)
    return attended, None


AttentionInterface.register(NAME, shared_prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
# Where torch prefers it (Hopper, Blackwell), cuDNN's attention builds a plan for every new shape, about a second for
# both passes (https://github.com/modelscope/FunASR/issues/3704), and batches of DNA have many shapes. torch's other
# kernels build none.
torch.backends.cuda.enable_cudnn_sdp(False)
