"""What a base model makes of a sequence before any fine-tuning: its mean last hidden state."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from dnatune.data.prompts import EncodedExamples
from dnatune.model.micro_batch import chunks_that_fit


@torch.no_grad()
def mean_hidden_states(
    model: PreTrainedModel, examples: EncodedExamples, batch_size: int, advance: Callable[[int], None] = lambda _: None
) -> np.ndarray:
    """Return the last hidden state, after the final norm, as the mean over an example's own tokens.

    The model reads the whole prompt. An example's own tokens are those behind the beginning that all prompts share: the
    tokens of the sequence and of the template's end, without the label.

    Args:
        model: a causal language model in evaluation mode.
        examples: the encoded split.
        batch_size: maximum number of examples per forward pass.
        advance: called with the number of examples done since the last call.

    Returns:
        Means [examples, hidden size], float32.

    Raises:
        RunError: one example does not fit into the GPU's memory.
    """
    first = len(examples.prefix)

    def means(part: Sequence[int]) -> np.ndarray:
        prompts = [examples.prompt(i) for i in part]
        width = max(map(len, prompts))
        # Padding stands behind the prompt, where no token of it attends to it.
        ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts], device=model.device)
        lengths = torch.tensor([[len(prompt)] for prompt in prompts], device=model.device)
        places = torch.arange(width, device=model.device)
        states = model.base_model(input_ids=ids, attention_mask=(places < lengths).long()).last_hidden_state
        own = ((places >= first) & (places < lengths)).unsqueeze(-1)
        return ((states.float() * own).sum(dim=1) / own.sum(dim=1)).cpu().numpy()

    found = [np.empty((0, model.config.get_text_config().hidden_size), np.float32)]
    for part in chunks_that_fit(means, range(len(examples)), batch_size):
        found.append(part)
        advance(len(part))
    return np.concatenate(found)
