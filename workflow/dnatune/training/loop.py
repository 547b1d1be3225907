"""The training loop over a DeepSpeed engine. The loop, not the engine, owns the schedule and the counters."""

import contextlib
import dataclasses
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from tqdm import tqdm

from dnatune.data.prompts import EncodedExamples
from dnatune.errors import RunError
from dnatune.evaluation.metrics import from_confusion
from dnatune.files import publish_file
from dnatune.launch.process_group import Rank
from dnatune.model.flops import Meter
from dnatune.model.scoring import label_log_probabilities
from dnatune.model.shared_prefix.packing import PackedBatch, Rows, chunks, pack_training
from dnatune.training.checkpoints import Checkpoints
from dnatune.training.engine import gradient_norm
from dnatune.training.plan import BatchOrder, Plan

_LOG = logging.getLogger(__name__)
#: Loss scaling halves at every overflow; from 2^16 this many in a row leave nothing to halve.
_MOST_REPEATS = 40


@dataclasses.dataclass
class Progress:
    """How far a run has come; what a checkpoint holds beside the engine's own state."""

    step: int = 0
    gradient_evaluations: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        progress: what was done.
        diverged: None, or step, loss, gradient norm and reason.
        interrupted: whether the run was saved before its end because its job is about to end.
        final_loss: mean loss of the last tenth of the steps.
    """

    progress: Progress
    diverged: dict[str, Any] | None
    interrupted: bool
    final_loss: float | None


class Trainer:
    """One run.

    Args:
        engine: DeepSpeed engine around a `base_models.LabelLikelihood`.
        optimizer: the optimizer inside it.
        rank: this process.
        train: encoded training split.
        dev: encoded examples scored during training; may be empty.
        plan: extent of the run.
        rates: learning rate of each step.
        training: the map `training` of the run.
        seed: seed of the run.
        rows: how examples are put before the model.
        meter: counts FLOPs.
    """

    def __init__(
        self,
        engine: Any,
        optimizer: torch.optim.Optimizer,
        rank: Rank,
        train: EncodedExamples,
        dev: EncodedExamples | None,
        plan: Plan,
        rates: list[float],
        training: dict[str, Any],
        seed: int,
        rows: Rows,
        meter: Meter,
    ):
        self.engine, self.optimizer, self.rank, self.train, self.dev = engine, optimizer, rank, train, dev
        self.plan, self.rates, self.training, self.seed = plan, rates, training, seed
        self.rows, self.meter = rows, meter
        self.signal, self.asked_to_stop = StopSignal(), False
        self.device = torch.device(rank.device)
        self.order = BatchOrder(len(train), training["global_batch_size"], seed)

    @property
    def accumulation(self) -> int:
        """Return the micro-batches of a rank in a full step."""
        share = math.ceil(min(self.order.batch, self.order.examples) / self.rank.world)
        return math.ceil(share / self.rows.micro_batch_size)

    def run(self, checkpoints: Checkpoints, saved: dict[str, Any] | None, log_file: Path) -> Outcome:
        """Train to the end or to divergence; called by every rank.

        Args:
            checkpoints: where progress is kept.
            saved: what the checkpoint held that the engine has loaded; None at the beginning.
            log_file: grows by a line a step; a resumed run continues it.
        """
        progress = Progress(**saved["progress"]) if saved else Progress()
        log = _StepLog(log_file, progress.step) if self.rank.first else None
        started = time.perf_counter() - progress.seconds
        diverged = None
        losses: list[float] = log.losses if log else []
        with _bar(self.plan.steps, progress.step, self.rank.first) as bar:
            while progress.step < self.plan.steps and diverged is None and not self.asked_to_stop:
                record, evaluations = self._step(progress.step)
                progress.step += 1
                progress.gradient_evaluations += evaluations
                diverged = self._divergence(record, progress.step)
                if diverged is None and self._due("evaluation_steps", progress.step):
                    # How often the dev split is scored says nothing about what training costs.
                    paused = time.perf_counter()
                    record.update(self._score_dev())
                    started += time.perf_counter() - paused
                    diverged = self._divergence(record, progress.step)
                progress.seconds = time.perf_counter() - started
                losses.append(record["loss"])
                if log:
                    log.write(progress, self.plan, record)
                    bar.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
                    bar.update()
                if self.rank.first and self._due("logging_steps", progress.step):
                    _LOG.info("step %d of %d: %s", progress.step, self.plan.steps, _brief(record))
                # The end needs no checkpoint: the adapter follows at once.
                due = self.asked_to_stop or progress.step % self.training["save_steps"] == 0
                if due and diverged is None and progress.step < self.plan.steps:
                    state = {"progress": dataclasses.asdict(progress), "rows": dataclasses.asdict(self.rows)}
                    checkpoints.save(self.engine, progress.step, state)
        tail = losses[-max(1, len(losses) // 10) :]
        final = float(np.mean(tail)) if tail and np.isfinite(tail).all() else None
        interrupted = self.asked_to_stop and diverged is None and progress.step < self.plan.steps
        return Outcome(progress, diverged, interrupted, final)

    def _due(self, key: str, step: int) -> bool:
        return step % self.training[key] == 0 or step == self.plan.steps

    def _step(self, step: int) -> tuple[dict[str, Any], int]:
        """Take one optimizer step and return its record and gradient evaluations.

        Every stage sees the same global batch and the same dropout.
        """
        began = time.perf_counter()
        batch = self.order.indices(step)
        tokens = sum(len(self.train.answer(i)) for i in batch)
        pieces = self._micro_batches(batch)
        # One rank that was told to stop tells all others, so that they stop behind the same step.
        done, needed = [piece for piece, _ in pieces], [piece for piece, weight in pieces if weight]
        counts = [*self.meter.work(done, needed), int(self.signal.received)]
        *work, asked = _summed(counts, self.device)
        self.asked_to_stop = asked > 0
        pieces = [(piece.to(self.device), weight) for piece, weight in pieces]
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.rates[step]
        losses: list[float] = []
        applied = True
        while applied and len(losses) < self.plan.stages:
            loss, applied = self._stage(step, pieces, tokens)
            losses.append(loss)
        seconds = time.perf_counter() - began
        return {
            "loss": losses[0],
            "learning_rate": self.rates[step],
            # A stage that the engine skipped had a gradient that is not finite; nobody took its norm.
            "gradient_norm": gradient_norm(self.engine, self.optimizer) if applied else math.inf,
            "samples_per_second": len(batch) * len(losses) / seconds,
            **self.meter.rates(work, len(losses), seconds),
        }, len(losses)

    def _micro_batches(self, batch: list[int]) -> list[tuple[PackedBatch, float]]:
        """Return this rank's share as (rows, weight); all ranks get the same number, padded with weight zero."""
        size, shared = self.rows.micro_batch_size, self.rows.shared
        share = batch[self.rank.index :: self.rank.world]
        count = math.ceil(math.ceil(len(batch) / self.rank.world) / size)
        pieces = [(pack_training(self.train, part, shared), 1.0) for part in chunks(share, size)]
        while len(pieces) < count:
            pieces.append((pack_training(self.train, batch[:1], shared), 0.0))
        return pieces

    def _stage(self, step: int, pieces: list[tuple[PackedBatch, float]], tokens: int) -> tuple[float, bool]:
        """Evaluate the gradient once and let the optimizer move; return the global loss and whether it moved.

        An fp16 overflow makes the engine skip the optimizer; the stage is then repeated as it was, at the smaller loss
        scale that the engine has chosen.
        """
        for _ in range(_MOST_REPEATS):
            total = torch.zeros((), device=self.device, dtype=torch.float64)
            for number, (piece, weight) in enumerate(pieces):
                # Dropout depends on nothing but this, so stages agree and a resumed run goes on as if never cut.
                torch.manual_seed(_mixed(self.seed, step, number, self.rank.index))
                loss = -weight * self.engine(piece).sum()
                total += loss.detach().double()
                # The engine averages over ranks; the loss is a sum over the global batch ÷ its tokens.
                self.engine.backward(loss * (self.rank.world / tokens))
            self.engine.step()
            distributed.all_reduce(total)
            value, applied = float(total) / tokens, self.engine.was_step_applied()
            if applied or not math.isfinite(value) or not self.engine.fp16_enabled():
                break
        return value, applied

    def _divergence(self, record: dict[str, Any], step: int) -> dict[str, Any] | None:
        loss, norm = record["loss"], record["gradient_norm"]
        if not math.isfinite(loss):
            reason = "the loss is not finite"
        elif loss > self.training["divergence_loss"]:
            reason = f"the loss is above divergence_loss {self.training['divergence_loss']}"
        elif not math.isfinite(norm) or norm < 0:
            reason = "the gradient is not finite"
        elif not math.isfinite(record.get("dev_loss", 0.0)):
            # Of the last update nothing else tells.
            reason = "the loss on the dev split is not finite"
        else:
            return None
        return {"step": step, "loss": _or_null(loss), "gradient_norm": _or_null(norm), "reason": reason}

    def _score_dev(self) -> dict[str, float | None]:
        """Return dev loss and metrics, an MCC of None where there is one class.

        The examples are shared out, and every rank does as many forward passes, but for one whose memory ends.
        """
        if self.dev is None:
            return {}
        self.engine.eval()
        count = len(self.dev)
        share = list(range(self.rank.index, count, self.rank.world))
        padded = share + [0] * (math.ceil(count / self.rank.world) - len(share))
        scores = label_log_probabilities(
            self.engine,
            self.dev,
            padded,
            self.rows.micro_batch_size,
            self.rows.shared,
            self.rank.device,
            # The ranks of ZeRO 3 fetch each other's weights in each forward pass.
            halve=self.training["zero_stage"] < 3,
        )[: len(share)]
        self.engine.train()
        truth = np.array([self.dev.answers[i] for i in share], dtype=int)
        classes = len(self.dev.labels)
        confusion = np.zeros((classes, classes))
        np.add.at(confusion, (truth, scores.argmax(axis=1)), 1)
        surprise = -scores[np.arange(len(share)), truth].sum()
        sums = torch.tensor([surprise, *confusion.ravel()], dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        tokens = sum(len(self.dev.answer(i)) for i in range(count))
        found = from_confusion(sums[1:].reshape(classes, classes).cpu().numpy())
        return {"dev_loss": float(sums[0]) / tokens, **{f"dev_{name}": value for name, value in found.items()}}


class _StepLog:
    """training.jsonl while it grows; lines after the step a run continues from are dropped."""

    def __init__(self, path: Path, step: int):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._read(path, step) if step else []
        self.losses = [math.nan if row["loss"] is None else row["loss"] for row in kept]
        self.path = path
        with publish_file(path) as scratch:
            scratch.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")

    @staticmethod
    def _read(path: Path, step: int) -> list[dict[str, Any]]:
        """Return the lines up to a step; what was being written when the run was cut comes after them."""
        lines = path.read_text("utf-8").splitlines()[:step] if path.exists() else []
        try:
            kept = [json.loads(line) for line in lines]
        except ValueError:
            kept = []
        if [row["step"] for row in kept] != list(range(1, step + 1)):
            raise RunError(
                f"the log has not the {step} steps that the checkpoint holds",
                where=str(path),
                fix="delete its folder: the run begins anew",
            )
        return kept

    def write(self, progress: Progress, plan: Plan, record: dict[str, Any]) -> None:
        row = {
            "step": progress.step,
            "gradient_evaluations": progress.gradient_evaluations,
            "epoch": progress.step / plan.steps_per_epoch,
            **{key: _or_null(value) for key, value in record.items()},
            "seconds": progress.seconds,
        }
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")


def _summed(numbers: list[int], device: torch.device) -> list[float]:
    """Return the sums over the ranks."""
    tensor = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    return tensor.tolist()


class StopSignal:
    """SIGUSR1, by which a scheduler says that the job is about to end; noted, and acted on behind a step."""

    def __init__(self) -> None:
        self.received = False
        signal.signal(signal.SIGUSR1, self._note)

    def _note(self, *_: Any) -> None:
        self.received = True


@contextlib.contextmanager
def _bar(total: int, done: int, shown: bool) -> Iterator[Any]:
    terminal = sys.stderr.isatty()
    with tqdm(
        total=total,
        initial=done,
        desc="training",
        unit="step",
        disable=not shown,
        mininterval=0.2 if terminal else 10,
        dynamic_ncols=terminal,
    ) as bar:
        yield bar


def _mixed(*numbers: int) -> int:
    """Return one well-mixed seed of 63 bits that follows from all numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _or_null(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _brief(record: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in record.items() if value is not None)
