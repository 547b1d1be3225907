"""What a batch costs: floating-point operations executed and needed, and the peak they are held against.

A multiplication and an addition are two operations. Only matrix products are counted, as is usual (Chowdhery et al.
2022, arXiv 2204.02311, appendix B); norms, activations, softmax and the embedding look-up are left out. So is what an
attention kernel recomputes inside its own backward pass.
"""

import dataclasses
import time

import torch
from torch import nn
from transformers import PreTrainedModel

from dnatune.packing import PackedBatch

#: Side of the square matrices whose product gives the peak: large enough to fill the device, small enough to be quick.
_PEAK_SIDE = {"cpu": 2048, "cuda": 8192}
_PEAK_TRIALS = 8


@dataclasses.dataclass(frozen=True)
class Dimensions:
    """What of a model decides its operations.

    Attributes:
        layers: decoder layers.
        attention_width: attention heads × their width.
        frozen: weights of the decoder's linear layers that are not trained.
        trained: weights of the decoder's linear layers that are trained: the adapter, and modules trained in full.
        head: weights of the output embedding, vocabulary × hidden size.
        head_trained: whether the output embedding is trained.
    """

    layers: int
    attention_width: int
    frozen: int
    trained: int
    head: int
    head_trained: bool


@dataclasses.dataclass(frozen=True)
class Work:
    """What of a batch decides its operations.

    Attributes:
        tokens: tokens that go through the decoder.
        context: tokens that each token looks at, summed over the tokens.
        logits: tokens whose logits are computed.
    """

    tokens: int
    context: int
    logits: int

    def __add__(self, other: "Work") -> "Work":
        """Return the work of both batches."""
        return Work(self.tokens + other.tokens, self.context + other.context, self.logits + other.logits)


def dimensions(model: PreTrainedModel) -> Dimensions:
    """Return the dimensions of a Llama-like causal model, an adapter inside it included."""
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = {True: 0, False: 0}
    for name, module in model.get_decoder().named_modules():
        # peft keeps the untrained original of a module that is trained in full; nothing goes through it.
        if isinstance(module, nn.Linear) and "original_module" not in name:
            sizes[module.weight.requires_grad] += module.in_features * module.out_features
    head = [p for name, p in model.get_output_embeddings().named_parameters() if "original_module" not in name]
    return Dimensions(
        layers=config.num_hidden_layers,
        attention_width=config.num_attention_heads * width,
        frozen=sizes[False],
        trained=sizes[True],
        head=config.vocab_size * config.hidden_size,
        head_trained=any(p.requires_grad for p in head),
    )


def training_flops(model: Dimensions, work: Work, checkpointing: bool = False) -> int:
    """Return the operations of forward and backward pass.

    A weight costs 2 operations a token forward, 2 for its input's gradient and, if it is trained, 2 for its own. Scores
    and mixing cost attention 4 × width a token of context, and twice that backward. Checkpointing runs the decoder
    forward again. Inputs of the first layer are taken to need a gradient, as they do with trained embeddings.

    Args:
        model: the model's dimensions.
        work: the batch's.
        checkpointing: whether activations are recomputed in the backward pass.
    """
    forward = _decoder_flops(model, work)
    passes = 3 if checkpointing else 2
    trained = 2 * model.trained * work.tokens
    attention = 4 * model.layers * model.attention_width * work.context
    head = (6 if model.head_trained else 4) * model.head * work.logits
    return passes * forward + trained + attention + head


def scoring_flops(model: Dimensions, work: Work) -> int:
    """Return the operations of a forward pass."""
    return _decoder_flops(model, work) + 2 * model.head * work.logits


def _decoder_flops(model: Dimensions, work: Work) -> int:
    linear = 2 * (model.frozen + model.trained) * work.tokens
    return linear + 4 * model.layers * model.attention_width * work.context


def executed(batch: PackedBatch) -> Work:
    """Return what dense attention does with a packed batch: padding and the mask's empty squares are work too."""
    rows, length = batch.input_ids.shape
    return Work(rows * length, rows * length * length, len(batch.targets))


def floor(batch: PackedBatch) -> Work:
    """Return what a packed batch needs: each of its tokens once, and of the mask only what it lets through."""
    # Every answer ends with a token that predicts its last, so a row ends at its last place that is scored.
    last = torch.zeros(len(batch.input_ids), dtype=torch.long, device=batch.columns.device)
    used = last.scatter_reduce(0, batch.rows, batch.columns, "amax") + 1
    looks = batch.mask[:, 0].sum(dim=-1)
    inside = torch.arange(looks.shape[1], device=looks.device) < used[:, None]
    context = looks[inside].sum()
    return Work(int(used.sum()), int(context), len(batch.targets))


def rectangle(rows: int, length: int, logits: int) -> Work:
    """Return the work of ordinary rows padded to one length."""
    return Work(rows * length, rows * length * length, logits)


def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """Return the most operations a second that a square matrix product reached here and now, best of several."""
    kind = torch.device(device).type
    side = _PEAK_SIDE[kind]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = left @ right
    best = float("inf")
    for _ in range(_PEAK_TRIALS):
        started = now(device)
        torch.matmul(left, right, out=product)
        best = min(best, now(device) - started)
    return 2 * side**3 / best


def now(device: str) -> float:
    """Return the time in seconds, after all that the device still had to do."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
