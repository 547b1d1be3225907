"""A loaded model that gives the log-probability of each label for sequences, as the evaluate stage does."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dnatune.data.prompt_form import PromptForm
from dnatune.data.prompts import EncodedExamples, class_indices, encode_labels, tokenize, tokenize_alone
from dnatune.errors import ModelError
from dnatune.model import base_models, label_likelihood, micro_batch, scoring
from dnatune.model.classification import classifies
from dnatune.model.shared_prefix import exactness
from dnatune.settings.prompt import PromptSettings
from dnatune.settings.sources import TaskSettings
from dnatune.settings.training import AutoOrCount


class Scorer:
    """Scores sequences, any number at a time.

    Args:
        model: the model, on its device.
        tokenizer: its tokenizer.
        task: what it is asked, and its labels.
        prompt: what is configured of the prompts' form.
        most_tokens: most tokens of a prompt and the longest label that training would take; None without a limit.
        batch_size: `evaluation.batch_size`.
        device: torch device name.

    Attributes:
        most_tokens: the same, or the number of positions that the model has embeddings for, if that is smaller;
            infinite without either.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        task: TaskSettings,
        prompt: PromptSettings | None,
        most_tokens: int | None,
        batch_size: AutoOrCount,
        device: str,
    ):
        self._model, self._tokenizer, self._task = model.eval(), tokenizer, task
        self._form = None if classifies(base_models.causal_model(model)) else PromptForm.of(tokenizer, prompt)
        self._labels = (
            encode_labels(tokenizer, self._form.words(task.labels)) if self._form else class_indices(task.labels)
        )
        self._batch_size, self._device = batch_size, device
        self._likelihood = label_likelihood.LabelLikelihood(model)
        self._shared, self._tried_with = True, 0
        limits = most_tokens, base_models.most_positions(model)
        self.most_tokens = min((limit for limit in limits if limit is not None), default=math.inf)

    @property
    def fewest_bases(self) -> int:
        """Return the length below which nothing of a sequence would be left in its prompt."""
        return self._form.fewest_bases if self._form else 1

    def encode(self, sequences: Sequence[str]) -> EncodedExamples:
        """Return the prompts of sequences, at least one, as token ids; their answers mean nothing.

        A model with a classification head gets the sequences alone.
        """
        if self._form:
            prefix, examples = tokenize(self._tokenizer, self._form, self._task.instruction, sequences)
        else:
            prefix, examples = tokenize_alone(self._tokenizer, sequences)
        return EncodedExamples(prefix, examples, [0] * len(sequences), self._labels)

    def tokens(self, examples: EncodedExamples) -> np.ndarray:
        """Return the number of tokens of each prompt with the longest label [examples]."""
        beside = len(examples.prefix) + examples.longest_label
        return np.array([beside + len(own) for own in examples.examples])

    def log_probabilities(self, examples: EncodedExamples) -> np.ndarray:
        """Return log p(label | prompt) [examples, labels]; NaN where a prompt has more tokens than `most_tokens`.

        Raises:
            ModelError: the model gives no number for a label.
            RunError: one example does not fit into the GPU's memory.
        """
        found = np.full((len(examples), len(self._labels)), np.nan)
        fitting = np.flatnonzero(self.tokens(examples) <= self.most_tokens).tolist()
        if not fitting:
            return found
        some = examples if len(fitting) == len(examples) else examples.subset(fitting)
        # An attention window that is long enough for some examples may be too short for others.
        if self._shared and some.longest_prompt > self._tried_with:
            self._shared = exactness.shared_rows(base_models.causal_model(self._model), [some])
            self._tried_with = some.longest_prompt
        tokens = scoring.scored_tokens(some, self._shared)
        size = micro_batch.scoring_batch(self._batch_size, tokens, len(some), self._device)
        scores = scoring.label_log_probabilities(
            self._likelihood, some, range(len(some)), size, self._shared, self._device
        )
        if not np.isfinite(scores).all():
            raise ModelError(
                "the model gives a label a log-probability that is not finite",
                fix="see that its weights are finite; what was trained in fp16 may need bf16 or fp32",
            )
        found[fitting] = scores
        return found
