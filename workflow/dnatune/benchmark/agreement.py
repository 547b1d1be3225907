"""Checks that all recipes compute the same result; without them a timing would mean nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from dnatune.benchmark import recipes
from dnatune.benchmark.recipes import TrainingRecipe
from dnatune.data.prompts import EncodedExamples
from dnatune.errors import RunError
from dnatune.model import label_likelihood
from dnatune.model.scoring import label_log_probabilities

#: Largest relative difference allowed between losses, gradients and scores: fp32 sums taken in another order.
_TOLERANCE = 1e-4


def check_gradients(
    model: Any, compared: Sequence[TrainingRecipe], examples: EncodedExamples, indices: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Return the loss of each recipe and the distance of its gradient from the first recipe's, all in fp32.

    Raises:
        RunError: if a loss or gradient differs by more than the tolerance.
    """
    found: dict[str, dict[str, float]] = {}
    reference: dict[str, torch.Tensor] = {}
    truth = 0.0
    for recipe in compared:
        loss, gradient = recipes.gradient(model, recipe, examples, indices)
        if not reference:
            truth, reference = loss, gradient
        found[recipe.name] = {
            "loss": loss,
            "loss_error": abs(loss - truth) / abs(truth),
            "gradient_error": _distance(gradient, reference),
        }
    _refuse_disagreement({(name, key): row[key] for name, row in found.items() for key in row if key != "loss"})
    return found


def check_loss(name: str, loss: float, truth: float) -> dict[str, float]:
    """Return the loss of a peer and its relative difference from the recipes' loss, both in fp32.

    Raises:
        RunError: if it differs by more than the tolerance.
    """
    error = abs(loss - truth) / abs(truth)
    _refuse_disagreement({(name, "loss_error"): error})
    return {"loss": loss, "loss_error": error}


def _distance(gradient: Mapping[str, torch.Tensor], reference: Mapping[str, torch.Tensor]) -> float:
    squares = [
        (float((gradient[name] - part).norm()) ** 2, float(part.norm()) ** 2) for name, part in reference.items()
    ]
    apart, size = (sum(column) for column in zip(*squares, strict=True))
    return (apart / size) ** 0.5


def check_scores(
    model: LlamaForCausalLM,
    examples: EncodedExamples,
    indices: Sequence[int],
    end: int,
    batch_size: int,
) -> dict[str, float]:
    """Return the largest relative difference between two recipes' log-probabilities, in fp32.

    The original scores only the first token of a label, so that token is compared with the same token in padded rows.
    Whole labels are compared between padded rows and shared-prefix rows.

    Raises:
        RunError: if a score differs by more than the tolerance.
    """
    rows = recipes.score_in_rows(model, examples, indices, recipes.COMMON_ROWS)
    original = recipes.score_one_by_one(model, examples, indices, end, lambda _: 1)
    shared = label_log_probabilities(
        label_likelihood.LabelLikelihood(model), examples, indices, batch_size, True, str(model.device)
    )
    errors = {"original": _relative(original.first, rows[:, :, 0]), "shared prefix": _relative(shared, rows.sum(-1))}
    _refuse_disagreement({(name, "score"): error for name, error in errors.items()})
    return errors


def _relative(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs((found - truth) / truth).max())


def _refuse_disagreement(errors: Mapping[tuple[str, str], float]) -> None:
    for (name, what), error in errors.items():
        if not error <= _TOLERANCE:
            raise RunError(
                f"the recipe '{name}' computes a different result: relative {what.replace('_', ' ')} {error:.1e}",
                where="the benchmark's check before any timing",
                fix=f"find the cause; at most {_TOLERANCE:.0e} is allowed, timings of wrong results are useless",
            )
