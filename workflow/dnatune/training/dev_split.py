"""The dev split in training: its scores, and the weights of the step that they say is best."""

import contextlib
import math
from typing import Any

import numpy as np
import torch
from torch import distributed

from dnatune.data.prompts import EncodedExamples
from dnatune.evaluation.metrics import from_confusion
from dnatune.launch.process_group import Rank
from dnatune.model.scoring import label_log_probabilities
from dnatune.model.shared_prefix.packing import Rows
from dnatune.training.engine import full_precision_weights
from dnatune.training.plan import Progress


def score(engine: Any, dev: EncodedExamples, rows: Rows, rank: Rank, *, halve: bool) -> dict[str, float | None]:
    """Return dev loss and dev metrics, the same on every rank; MCC is None if all items are of one class.

    The examples are divided among the ranks. All ranks make the same number of forward passes, unless one of them runs
    out of memory and halves its batches.

    Args:
        engine: DeepSpeed engine around the model.
        dev: the examples.
        rows: kind and size of the rows.
        rank: this process; every rank must call this.
        halve: whether a rank may halve its batches. With ZeRO 3 it may not: the ranks fetch each other's weights in
            each forward pass.
    """
    engine.eval()
    count = len(dev)
    share = list(range(rank.index, count, rank.world))
    padded = share + [0] * (math.ceil(count / rank.world) - len(share))
    # The test split is scored by code that is not compiled, and for so little scoring compiling takes too long.
    with torch.compiler.set_stance("force_eager") if engine.module.compiled else contextlib.nullcontext():
        scores = label_log_probabilities(
            engine, dev, padded, rows.micro_batch_size, rows.shared, rank.device, halve=halve
        )[: len(share)]
    engine.train()
    truth = np.array([dev.answers[i] for i in share], dtype=int)
    classes = len(dev.labels)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (truth, scores.argmax(axis=1)), 1)
    surprise = -scores[np.arange(len(share)), truth].sum()
    sums = torch.tensor([surprise, *confusion.ravel()], dtype=torch.float64, device=rank.device)
    distributed.all_reduce(sums)
    tokens = sum(len(dev.answer(i)) for i in range(count))
    found = from_confusion(sums[1:].reshape(classes, classes).cpu().numpy())
    return {"dev_loss": float(sums[0]) / tokens, **{f"dev_{name}": value for name, value in found.items()}}


class BestWeights:
    """The trained weights after the step whose dev loss is the lowest so far; the first of several alike.

    Args:
        rank: this process.

    Attributes:
        weights: fp32 tensors on the CPU by name, on the first rank; empty on the others, and before the first scoring.
    """

    def __init__(self, rank: Rank):
        self.rank = rank
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, progress: Progress, loss: float, model: Any) -> None:
        """Keep the weights if their dev loss is lower; called by every rank after a step.

        Args:
            progress: of the run; takes the step and the loss of what is kept.
            loss: on the dev examples, the same number on every rank.
            model: the `LabelLikelihood`.
        """
        if progress.best_loss is None or loss < progress.best_loss:
            progress.best_step, progress.best_loss = progress.step, loss
            weights = full_precision_weights(model)
            self.weights = weights if self.rank.first else {}
