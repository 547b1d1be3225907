"""The training loop. The loop, not the DeepSpeed engine, owns the schedule and the counters."""

import contextlib
import dataclasses
import logging
import math
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed
from tqdm import tqdm

from dnatune.data.prompts import EncodedExamples
from dnatune.launch.process_group import Rank
from dnatune.model.flops import Meter
from dnatune.model.shared_prefix.packing import PackedBatch, Rows, chunks, pack_training
from dnatune.settings.training import Training
from dnatune.training import dev_split
from dnatune.training.checkpoints import Checkpoints, Saved
from dnatune.training.engine import gradient_norm
from dnatune.training.plan import BatchOrder, Plan, Progress, SaveSchedule
from dnatune.training.record import Divergence, SegmentEnd
from dnatune.training.step_log import StepLog, or_null
from dnatune.training.stop_signal import StopSignal

_LOG = logging.getLogger(__name__)
#: Every overflow halves the loss scale; after this many in a row, starting from 2^16, nothing is left to halve.
_MOST_REPEATS = 40
_Made = TypeVar("_Made")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        progress: the progress at the end.
        diverged: where and why the run diverged; None if it did not.
        interrupted: whether the run was saved and stopped early because its job is about to end.
        final_loss: mean loss of the last tenth of the steps.
    """

    progress: Progress
    diverged: Divergence | None
    interrupted: bool
    final_loss: float | None

    @property
    def reason(self) -> SegmentEnd:
        """Return why the segment of the run has ended."""
        return "diverged" if self.diverged else "interrupted" if self.interrupted else "completed"


@dataclasses.dataclass(frozen=True)
class _PackedStep:
    """What a step needs of its data.

    Attributes:
        examples: size of the global batch.
        tokens: number of its label tokens.
        work: of this rank, see `Meter.work`.
        pieces: this rank's micro-batches on its device, with their weights.
    """

    examples: int
    tokens: int
    work: list[int]
    pieces: list[tuple[PackedBatch, float]]


class Trainer:
    """One run.

    Args:
        engine: DeepSpeed engine around a `label_likelihood.LabelLikelihood`.
        optimizer: the engine's optimizer.
        rank: this process.
        train: encoded training split.
        dev: encoded examples to score during training; None if there are none.
        plan: number of steps and of gradient evaluations per step.
        rates: learning rate of each step.
        training: how the run is trained.
        seed: seed of the run.
        rows: kind and size of the rows.
        meter: counts FLOPs.

    Attributes:
        best: the weights of the best step so far; None if those of the last are kept.
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
        training: Training,
        seed: int,
        rows: Rows,
        meter: Meter,
    ):
        self.engine, self.optimizer, self.rank, self.train, self.dev = engine, optimizer, rank, train, dev
        self.plan, self.rates, self.training, self.seed = plan, rates, training, seed
        self.rows, self.meter = rows, meter
        self.signal, self.asked_to_stop, self.asked_to_save = StopSignal(), False, False
        self.saving = SaveSchedule(training.save_steps, plan.steps)
        self.device = torch.device(rank.device)
        self.best = dev_split.BestWeights(rank) if training.keep == "best_dev" else None
        self.order = BatchOrder(len(train), training.global_batch_size, seed)

    @property
    def accumulation(self) -> int:
        """Return the number of micro-batches per rank in a full step."""
        share = math.ceil(min(self.order.batch, self.order.examples) / self.rank.world)
        return math.ceil(share / self.rows.micro_batch_size)

    def run(self, checkpoints: Checkpoints, saved: Saved | None) -> Outcome:
        """Train until the end, divergence or a stop signal; called by every rank.

        Args:
            checkpoints: the checkpoints of the run, with its log, which a resumed run continues.
            saved: state.json of the checkpoint that the engine has loaded; None if the run begins at step 0.
        """
        progress = Progress(**saved.progress) if saved else Progress()
        log = StepLog(checkpoints.log, progress.step) if self.rank.first else None
        started = time.perf_counter() - progress.seconds
        diverged = None
        losses: list[float] = log.losses if log else []
        packed = _ahead(self._packed, range(progress.step, self.plan.steps))
        with _bar(self.plan.steps, progress.step, self.rank.first) as bar, contextlib.closing(packed):
            while progress.step < self.plan.steps and diverged is None and not self.asked_to_stop:
                record = self._step(progress, checkpoints, next(packed))
                diverged = self._divergence(record, progress.step)
                if diverged is None and self._due(self.training.evaluation_steps, progress.step):
                    # Neither scoring the dev split nor saving is part of the cost of training.
                    paused = time.perf_counter()
                    record.update(self._score_dev())
                    diverged = self._divergence(record, progress.step)
                    if self.best and diverged is None:
                        self.best.offer(progress, record["dev_loss"], self.engine.module)
                    started += time.perf_counter() - paused
                progress.seconds = time.perf_counter() - started
                losses.append(record["loss"])
                if log:
                    log.write(progress, self.plan, record)
                    bar.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
                    bar.update()
                if self.rank.first and self._due(self.training.logging_steps, progress.step):
                    _LOG.info("step %d of %d: %s", progress.step, self.plan.steps, _brief(record))
                # The last step needs no checkpoint, because the adapter is saved immediately after it.
                due = self.asked_to_stop or self.asked_to_save or self.saving.due(progress.step)
                if due and diverged is None and progress.step < self.plan.steps:
                    paused = time.perf_counter()
                    if log:
                        log.sync()
                    now = dataclasses.asdict(progress), dataclasses.asdict(self.rows)
                    checkpoints.save(self.engine, progress.step, *now, self.best.weights if self.best else {})
                    self.saving.saved()
                    started += time.perf_counter() - paused
        checkpoints.finish()
        tail = losses[-max(1, len(losses) // 10) :]
        final = float(np.mean(tail)) if tail and np.isfinite(tail).all() else None
        interrupted = self.asked_to_stop and diverged is None and progress.step < self.plan.steps
        return Outcome(progress, diverged, interrupted, final)

    def _due(self, every: int, step: int) -> bool:
        return step % every == 0 or step == self.plan.steps

    def _packed(self, step: int) -> _PackedStep:
        batch = self.order.indices(step)
        pieces = self._micro_batches(batch)
        done, needed = [piece for piece, _ in pieces], [piece for piece, weight in pieces if weight]
        return _PackedStep(
            len(batch),
            sum(len(self.train.answer(i)) for i in batch),
            self.meter.work(done, needed),
            [(piece.to(self.device), weight) for piece, weight in pieces],
        )

    def _step(self, progress: Progress, checkpoints: Checkpoints, packed: _PackedStep) -> dict[str, Any]:
        """Take one optimizer step, count it and its gradient evaluations, and return its record.

        All stages use the same global batch and the same dropout.

        Raises:
            DnatuneError: the checkpoint that is being written cannot be written.
        """
        began, step = time.perf_counter(), progress.step
        # A rank that received the signal, or whose clock says so, informs all others: all stop or save after the same
        # step.
        asked = [self.signal.received, self.saving.overdue, checkpoints.at_work, checkpoints.failed]
        counts = [*packed.work, *map(int, asked)]
        *work, asked_to_stop, asked_to_save, at_work, failed = _summed(counts, self.device)
        self.asked_to_stop, self.asked_to_save = asked_to_stop > 0, asked_to_save > 0
        checkpoints.go_on(at_work, failed)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.rates[step]
        losses: list[float] = []
        applied, evaluations = True, 0
        while applied and len(losses) < self.plan.stages:
            loss, applied, attempts = self._stage(step, packed.pieces, packed.tokens)
            losses.append(loss)
            evaluations += attempts
        seconds = time.perf_counter() - began
        progress.step += 1
        progress.gradient_evaluations += evaluations
        progress.repeated_evaluations += evaluations - len(losses)
        return {
            "loss": losses[0],
            "learning_rate": self.rates[step],
            # If the engine skipped a stage, its gradient was not finite and its norm was not computed.
            "gradient_norm": gradient_norm(self.engine, self.optimizer) if applied else math.inf,
            "samples_per_second": packed.examples * evaluations / seconds,
            **self.meter.rates(work, evaluations, seconds),
        }

    def _score_dev(self) -> dict[str, float | None]:
        if self.dev is None:
            return {}
        return dev_split.score(self.engine, self.dev, self.rows, self.rank, halve=self.training.zero_stage < 3)

    def _micro_batches(self, batch: list[int]) -> list[tuple[PackedBatch, float]]:
        """Return this rank's micro-batches with weights; ranks with fewer get copies with weight zero."""
        size, shared = self.rows.micro_batch_size, self.rows.shared
        share = batch[self.rank.index :: self.rank.world]
        count = math.ceil(math.ceil(len(batch) / self.rank.world) / size)
        pieces = [(pack_training(self.train, part, shared), 1.0) for part in chunks(share, size)]
        while len(pieces) < count:
            pieces.append((pack_training(self.train, batch[:1], shared), 0.0))
        return pieces

    def _stage(self, step: int, pieces: list[tuple[PackedBatch, float]], tokens: int) -> tuple[float, bool, int]:
        """Compute a gradient and step the optimizer.

        After an fp16 overflow the engine skips the optimizer and reduces the loss scale, and the stage is repeated.

        Returns:
            The global loss, whether the step was applied, and how often the gradient was computed.
        """
        attempts, repeat = 0, True
        while repeat and attempts < _MOST_REPEATS:
            attempts += 1
            total = torch.zeros((), device=self.device, dtype=torch.float64)
            for number, (piece, weight) in enumerate(pieces):
                # Dropout depends only on this seed, so all stages agree and a resumed run equals an uninterrupted one.
                torch.manual_seed(_mixed(self.seed, step, number, self.rank.index))
                loss = -weight * self.engine(piece).sum()
                total += loss.detach().double()
                # The engine averages over ranks, but the loss is a sum over the global batch ÷ its label tokens.
                self.engine.backward(loss * (self.rank.world / tokens))
            self.engine.step()
            distributed.all_reduce(total)
            value, applied = float(total) / tokens, self.engine.was_step_applied()
            repeat = not applied and math.isfinite(value) and self.engine.fp16_enabled()
        return value, applied, attempts

    def _divergence(self, record: dict[str, Any], step: int) -> Divergence | None:
        loss, norm = record["loss"], record["gradient_norm"]
        if not math.isfinite(loss):
            reason = "the loss is not finite"
        elif loss > self.training.divergence_loss:
            reason = f"the loss is above divergence_loss {self.training.divergence_loss}"
        elif not math.isfinite(norm) or norm < 0:
            reason = "the gradient is not finite"
        elif not math.isfinite(record.get("dev_loss", 0.0)):
            # A step's loss is computed before its update, so only the dev loss shows that the last update diverged.
            reason = "the loss on the dev split is not finite"
        else:
            return None
        return Divergence(step=step, loss=or_null(loss), gradient_norm=or_null(norm), reason=reason)


def _ahead(task: Callable[[int], _Made], items: Iterable[int]) -> Generator[_Made, None, None]:
    """Yield the task's result for each item; a thread makes the next one meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        made: Future[_Made] | None = None
        for item in items:
            following = thread.submit(task, item)
            if made is not None:
                yield made.result()
            made = following
        if made is not None:
            yield made.result()


def _summed(numbers: list[int], device: torch.device) -> list[float]:
    """Return the sum of each number over the ranks."""
    tensor = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    return tensor.tolist()


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
    """Return a seed of 63 bits that is a hash of all numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _brief(record: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in record.items() if value is not None)
