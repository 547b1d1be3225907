"""Score examples by the log-probability of each whole label, or generate text and look for a label in it."""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dnatune.data.prompts import EncodedExamples
from dnatune.model.micro_batch import chunks_that_fit
from dnatune.model.shared_prefix.packing import pack_scoring


def progress(items: int, shown: bool = True) -> tqdm:
    """Return a progress bar for `items` items; without a terminal it is updated only every 10 s."""
    interval = 0.2 if sys.stderr.isatty() else 10
    return tqdm(total=items, desc="scoring", unit="item", mininterval=interval, disable=not shown)


def scored_tokens(examples: EncodedExamples, shared: bool) -> int:
    """Return the number of tokens that the longest example with all its labels adds to a forward pass.

    Args:
        examples: the encoded split.
        shared: see `packing.Rows`.
    """
    if shared:
        return max(map(len, examples.examples)) + sum(len(label) - 1 for label in examples.labels)
    if not examples.longest_label:
        return examples.longest_prompt
    return len(examples.labels) * (examples.longest_prompt + examples.longest_label - 1)


@torch.no_grad()
def label_log_probabilities(
    likelihood: nn.Module,
    examples: EncodedExamples,
    indices: Sequence[int],
    batch_size: int,
    shared: bool,
    device: str,
    advance: Callable[[int], None] = lambda _: None,
    halve: bool = True,
) -> np.ndarray:
    """Return log p(label | prompt) of each example and label, end-of-sequence included.

    Args:
        likelihood: a `label_likelihood.LabelLikelihood` in evaluation mode.
        examples: the encoded split.
        indices: indices of the examples to score.
        batch_size: maximum number of examples per forward pass.
        shared: see `packing.Rows`.
        device: torch device name.
        advance: called with the number of examples scored since the last call.
        halve: see `micro_batch.chunks_that_fit`.

    Returns:
        Natural logarithms [examples, labels], float64; no length normalisation.

    Raises:
        RunError: one example does not fit into the GPU's memory.
    """
    classes = len(examples.labels)

    def score(part: Sequence[int]) -> torch.Tensor:
        batch = pack_scoring(examples, part, shared).to(torch.device(device))
        tokens = likelihood(batch).double()
        sums = torch.zeros(len(part) * classes, dtype=torch.float64, device=tokens.device)
        sums.index_add_(0, batch.owners, tokens)
        return sums.view(len(part), classes)

    # The scores stay on the device until the end, so that a GPU computes while the next batch is packed.
    scores = [torch.empty(0, classes, dtype=torch.float64, device=device)]
    for scored in chunks_that_fit(score, indices, batch_size, halve):
        scores.append(scored)
        advance(len(scored))
    return torch.cat(scores).cpu().numpy()


@torch.no_grad()
def generate_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: EncodedExamples,
    batch_size: int,
    max_new_tokens: int,
    advance: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Generate greedily after each prompt, padded on the left, and return the texts without special tokens.

    Raises:
        RunError: one example does not fit into the GPU's memory.
    """
    end = tokenizer.eos_token_id

    def generate(part: Sequence[int]) -> list[str]:
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
        return tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)

    texts: list[str] = []
    for generated in chunks_that_fit(generate, range(len(examples)), batch_size):
        texts += generated
        advance(len(generated))
    return texts


def parse_label(text: str, labels: Sequence[str]) -> int | None:
    """Return the class whose label equals the generated text, or None if the text is not a label.

    Only white space at the ends is ignored: `dnon-promoter` is not the label `non-promoter`.
    """
    stripped = text.strip()
    return next((index for index, label in enumerate(labels) if stripped == label), None)
