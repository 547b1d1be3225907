"""Score examples: the log-probability of every whole label, or a freely decoded answer."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dnatune.packing import chunks, pack_scoring
from dnatune.prompts import EncodedExamples


@torch.no_grad()
def label_log_probabilities(
    likelihood: nn.Module,
    examples: EncodedExamples,
    indices: Sequence[int],
    batch_size: int,
    shared: bool,
    device: str,
    advance: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """Return log p(label | prompt) of each example and label, end-of-sequence included.

    Args:
        likelihood: a `models.LabelLikelihood` in evaluation mode.
        examples: the encoded split.
        indices: which of its examples.
        batch_size: most examples in one forward pass.
        shared: see `packing.Rows`.
        device: torch device name.
        advance: told how many examples have been scored since the last call.

    Returns:
        Natural logarithms [examples, labels], float64; no length normalisation.
    """
    classes = len(examples.labels)
    scores = np.empty((len(indices), classes))
    done = 0
    for part in chunks(indices, batch_size):
        batch = pack_scoring(examples, part, shared).to(torch.device(device))
        tokens = likelihood(batch).double()
        sums = torch.zeros(len(part) * classes, dtype=torch.float64, device=tokens.device)
        sums.index_add_(0, batch.owners, tokens)
        scores[done : done + len(part)] = sums.view(len(part), classes).cpu().numpy()
        done += len(part)
        advance(len(part))
    return scores


@torch.no_grad()
def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: EncodedExamples,
    batch_size: int,
    max_new_tokens: int,
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Decode an answer to each prompt greedily, padded on the left; return the texts without special tokens."""
    end = tokenizer.eos_token_id
    answers: list[str] = []
    for part in chunks(range(len(examples)), batch_size):
        prompts = [examples.prompt(i) for i in part]
        width = max(map(len, prompts))
        ids = torch.tensor([[end] * (width - len(p)) + p for p in prompts], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            eos_token_id=end,
            pad_token_id=end,
        )
        answers.extend(tokenizer.batch_decode(output[:, width:], skip_special_tokens=True))
        advance(len(part))
    return answers


def parse_answer(text: str, labels: Sequence[str]) -> int | None:
    """Return the class whose label the decoded text is, or None where it is no label.

    Only blanks at the ends are forgiven: an answer such as `dnon-promoter` is no answer.
    """
    stripped = text.strip()
    return next((index for index, label in enumerate(labels) if stripped == label), None)
