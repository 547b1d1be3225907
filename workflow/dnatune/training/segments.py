"""The segments of a run: each goes from a start to an end or an interruption. They outlive the process."""

import contextlib
import datetime
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from dnatune.contracts import Record
from dnatune.errors import DataError
from dnatune.training.checkpoints import Found
from dnatune.training.record import Conditions, Segment, SegmentEnd
from dnatune.training.step_log import whole_steps

_LOG = logging.getLogger(__name__)
_NAME = "segments.json"


class _History(Record):
    """segments.json among the checkpoints of a run."""

    segments: list[Segment]


class Segments:
    """The segments of a run so far, of which the last is under way.

    A process that is killed cannot say so. Hence a segment counts as killed until it has ended otherwise, and the next
    one finds out from the step log how far it came.

    Args:
        folder: of the run's checkpoints.
        log: training.jsonl there.
    """

    def __init__(self, folder: Path, log: Path):
        self.path, self.log = folder / _NAME, log
        self.all = self._earlier()

    @contextlib.contextmanager
    def begin(self, found: Found | None, conditions: Conditions) -> Iterator[None]:
        """Record a segment that starts now and, if the context ends with an error, that it failed.

        Args:
            found: the checkpoint that it goes on from; None if it starts at step 0.
            conditions: under which it trains.
        """
        if self.all and self.all[-1].reason == "killed":
            self.all[-1] = self.all[-1].model_copy(update=self._found_in_log(self.all[-1]))
        now, step = _now(), found.saved.progress["step"] if found else 0
        self.all.append(
            Segment(
                host=socket.gethostname(),
                job=os.environ.get("SLURM_JOB_ID"),
                start=now,
                end=now,
                reason="killed",
                from_step=step,
                to_step=step,
                checkpoint=found.digest if found else None,
                code=conditions.software.code,
                accepted=found.accepted if found else [],
            )
        )
        self._write()
        try:
            yield
        except BaseException:
            self.end("failed", max(step, whole_steps(self.log)))
            raise

    def end(self, reason: SegmentEnd, step: int) -> None:
        """Record that the segment has ended after a step."""
        self.all[-1] = self.all[-1].model_copy(update={"reason": reason, "to_step": step, "end": _now()})
        self._write()

    def _earlier(self) -> list[Segment]:
        if not self.path.is_file():
            return []
        try:
            return _History.read(self.path).segments
        except DataError as error:
            _LOG.warning("the earlier segments of this run are not known: %s", error)
            return []

    def _found_in_log(self, killed: Segment) -> dict[str, int | str]:
        reached = whole_steps(self.log)
        if reached <= killed.from_step:
            return {}
        return {"to_step": reached, "end": _text(self.log.stat().st_mtime)}

    def _write(self) -> None:
        _History(segments=self.all).write(self.path)


def _now() -> str:
    return _text(datetime.datetime.now(datetime.UTC).timestamp())


def _text(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
