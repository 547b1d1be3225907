"""What is trained and scored: the log-probability of each label token, or of each class."""

from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from dnatune.model import classification, low_rank
from dnatune.model.base_models import causal_model
from dnatune.model.shared_prefix import attention
from dnatune.model.shared_prefix.packing import FEWEST_LOGITS, PackedBatch


class LabelLikelihood(nn.Module):
    """Log-probabilities of a packed batch's targets.

    In a shared row, logits are computed only where a target is predicted. Ordinary rows run the model's own forward
    pass, which computes the logits of every token, so anything else that the model does to its logits is included. With
    a classification head, a row has one logit for each class, and a target is the index of a class.

    Attributes:
        model: the model.
        adapter: its low-rank matrices as one parameter, if `flatten` was called.
        compiled: whether its layers are.
    """

    def __init__(self, model: PreTrainedModel | PeftModel):
        super().__init__()
        self.model = model
        self.adapter: low_rank.FlatAdapter | None = None
        self.compiled = False
        self.classifies = classification.classifies(causal_model(model))
        if not self.classifies:
            attention.prepare(causal_model(model))
        low_rank.fuse(model)

    def flatten(self) -> None:
        """Make one parameter of the model's low-rank matrices."""
        self.adapter = low_rank.FlatAdapter(self.model)

    def compile_layers(self) -> None:
        """Have torch compile the forward and the backward pass of the decoder's layers when they first run.

        All layers share the compiled code, and rows of all lengths. The layers are those that transformers can
        recompute one by one.
        """
        self.compiled = True
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.compile(dynamic=True)

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        """Return log p(target | its past) [targets], in fp32."""
        causal = causal_model(self.model)
        if self.adapter is not None:
            self.adapter.spread()
        if self.classifies:
            return log_probabilities(classification.class_logits(causal, batch)[batch.rows], batch.targets)
        if not batch.groups:
            every = causal(input_ids=batch.input_ids, attention_mask=batch.mask, use_cache=False).logits
            return log_probabilities(every[batch.rows, batch.columns], batch.targets)
        hidden = causal.get_decoder()(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            # transformers uses a 4-D mask as it is; without a mask it would infer packing from the positions.
            attention_mask=batch.groups[0].mask,
            groups=batch.groups,
            use_cache=False,
        ).last_hidden_state
        return log_probabilities(logits_at(causal, hidden, batch), batch.targets)


def logits_at(causal: PreTrainedModel, hidden: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Return the logits [targets, vocabulary] at the batch's targets only, from hidden states [rows, length, width]."""
    places = hidden[batch.rows, batch.columns]
    repeated = places[:1].expand(max(0, FEWEST_LOGITS - len(places)), -1)
    return causal.get_output_embeddings()(torch.cat([places, repeated]))[: len(places)]


def log_probabilities(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return log p of each target [targets], in fp32, from logits [targets, vocabulary]."""
    return _LogProbability.apply(logits.float(), targets)


class _LogProbability(torch.autograd.Function):
    """A logit minus the log-sum-exp of its row.

    torch's cross-entropy sums a row of 61,957 terms in an order with an error of 1e-4. torch's log-sum-exp does not
    have this error, but its backward pass allocates four tensors of the logits' size; this one allocates one.
    """

    @staticmethod
    def forward(context: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = logits.logsumexp(dim=1, keepdim=True)
        context.save_for_backward(logits, targets, total)
        return (logits.gather(1, targets[:, None]) - total)[:, 0]

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets, total = context.saved_tensors
        share = (logits - total).exp_().mul_(-gradient[:, None])
        return share.scatter_add_(1, targets[:, None], gradient[:, None]), None
