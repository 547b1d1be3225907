"""Checkpoints against a model of the protocol: whatever happens, a run ends as an uninterrupted one would, or says why.

The model knows for each checkpoint by which code each of its steps was done. Other code computes other numbers here, so
that a step too many, one too few, one of other code or of another configuration shows in the weights.
"""

import dataclasses
import functools
import itertools
import json
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dnatune.errors import ConfigurationError, DataError
from dnatune.launch.process_group import Rank
from dnatune.training.checkpoints import Checkpoints, Manifest
from dnatune.training.plan import Plan, Progress
from dnatune.training.segments import Segments
from dnatune.training.step_log import StepLog
from kills import kill_before
from run_records import conditions
from small_engine import SmallEngine

TOTAL, LIMIT = 12, 2
RATES = {"slow": 0.01, "fast": 0.1}
#: What other code makes of a gradient.
CODES = {"a": 1.0, "b": 3.0}
PLAN = Plan(TOTAL, 1, 4)
#: A place in a list whose length hypothesis need not know.
PLACES = st.floats(0, 1, exclude_max=True)


def at(place, items):
    return items[int(place * len(items))]


@functools.cache
def conditions_of(configuration, code, precision, logging_steps):
    changes = {"optimizers": {"adamw": {"learning_rate": RATES[configuration], "logging_steps": logging_steps}}}
    return conditions("optimizers", changes["optimizers"], code=code, precision=precision)


@functools.cache
def trained(configuration, history):
    """Return the engine after steps that were done by the codes of a history, such as `aab`."""
    engine = SmallEngine(RATES[configuration])
    for code in history:
        engine.step(CODES[code])
    return engine


@dataclasses.dataclass
class Started:
    """A process that trains, and what the model says of it."""

    configuration: str
    code: str
    precision: str
    checkpoints: Checkpoints
    engine: SmallEngine
    log: StepLog
    segments: Segments
    history: str
    stepped: bool = False


@dataclasses.dataclass
class Kept:
    """What the model says is on disk of one configuration: whole checkpoints by step, all of them, logged steps."""

    saved: dict = dataclasses.field(default_factory=dict)
    on_disk: set = dataclasses.field(default_factory=set)
    logged: int = 0
    starts: int = 0

    def leave(self, steps):
        self.on_disk = set(steps)
        self.saved = {step: told for step, told in self.saved.items() if step in self.on_disk}


class Protocol(RuleBasedStateMachine):
    """Starts, steps, saves, crashes and changes in any order."""

    folder = None
    #: A process that is killed does not leave its contexts, as those would be that Python collects.
    dead: list[object] = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        Protocol.number = getattr(Protocol, "number", 0) + 1
        self.root = self.folder / str(Protocol.number) / "checkpoints"
        self.kept: dict[str, Kept] = {}
        self.process: Started | None = None

    @precondition(lambda self: self.process is None)
    @rule(
        configuration=st.sampled_from(["slow", "slow", "fast"]),
        code=st.sampled_from("ab"),
        precision=st.sampled_from(["fp32", "fp32", "fp32", "bf16"]),
        accept=st.booleans(),
        logging_steps=st.sampled_from([1, 7]),
    )
    def start(self, configuration, code, precision, accept, logging_steps):
        made = conditions_of(configuration, code, precision, logging_steps)
        checkpoints = Checkpoints(self.root, LIMIT, Rank(0, 1, "cpu"), made)
        kept = self.kept.setdefault(configuration, Kept())
        usable = [step for step in kept.saved if step <= kept.logged]
        if usable:
            last_code, last_precision, history = kept.saved[max(usable)]
            refused = last_precision != precision or (last_code != code and not accept)
        else:
            last_code, history, refused = code, "", False
        try:
            found = checkpoints.find(accept)
        except ConfigurationError as error:
            assert refused, error
            assert ("code: " in error.what) == (last_code != code)
            assert ("precision: " in error.what) == (last_precision != precision)
            self._forget_others(configuration)
            return
        assert not refused
        assert bool(found) == bool(usable)
        engine = SmallEngine(RATES[configuration])
        if found:
            assert found.saved.progress["step"] == max(usable)
            assert bool(found.accepted) == (last_code != code)
            checkpoints.load(engine, found)
        assert engine.equals(trained(configuration, history))
        self._forget_others(configuration)
        segments = Segments(checkpoints.folder, checkpoints.log)
        context = segments.begin(found, made)
        context.__enter__()
        self.dead.append(context)
        kept.starts += 1
        kept.logged = len(history)
        log = StepLog(checkpoints.log, len(history))
        self.process = Started(configuration, code, precision, checkpoints, engine, log, segments, history)

    def _forget_others(self, configuration):
        """A start removes the state of other configurations where no checkpoint is whole."""
        for name, kept in list(self.kept.items()):
            if name != configuration and not kept.saved:
                del self.kept[name]

    @precondition(lambda self: self.process and len(self.process.history) < TOTAL)
    @rule(counts=st.lists(st.integers(1, 4), min_size=1, max_size=3), saves=st.booleans())
    def train(self, counts, saves):
        """Do some steps, and save after each number of them, or never; the next steps go on while a save is written."""
        process, begun = self.process, []
        for count in counts:
            for _ in range(min(count, TOTAL - len(process.history))):
                process.engine.step(CODES[process.code])
                process.history += process.code
                process.log.write(Progress(step=len(process.history)), PLAN, {"loss": 1.0})
            process.stepped = True
            self.kept[process.configuration].logged = len(process.history)
            if saves and len(process.history) < TOTAL:
                self._save()
                begun.append(process.history)
        process.checkpoints.finish()
        for history in begun:
            self._saved(history)

    def _save(self):
        process = self.process
        process.log.sync()
        step = len(process.history)
        process.checkpoints.save(process.engine, step, {"step": step}, {}, {})

    def _save_and_go_on(self):
        self._save()
        self.process.engine.step()
        self.process.checkpoints.finish()

    def _saved(self, history):
        process, kept = self.process, self.kept[self.process.configuration]
        step = len(history)
        kept.saved[step] = process.code, process.precision, history
        on_disk = sorted({one for one in {*kept.on_disk, step} if one <= step})
        kept.leave(on_disk[-LIMIT:])

    @precondition(lambda self: self.process and self.process.stepped)
    @rule()
    def is_killed(self):
        self.process = None

    @precondition(lambda self: self.process and self.process.stepped and len(self.process.history) < TOTAL)
    @rule(operation=st.integers(1, 40))
    def is_killed_while_it_saves(self, operation):
        process = self.process
        place = process.checkpoints.folder / f"step-{len(process.history):08d}"
        # One that is there already, damaged or of the same steps, gives way to the new one in one operation.
        before = place.stat().st_ino if place.exists() else None
        survived = kill_before(operation, self._save_and_go_on)
        after = place.stat().st_ino if place.exists() else None
        assert after or not (survived or before)
        kept = self.kept[process.configuration]
        if after != before:
            self._saved(process.history)
        # Of those that were about to go, some may still be there; never fewer than there should be.
        names = {int(path.name[-8:]) for path in process.checkpoints.folder.glob("step-????????")}
        assert names >= kept.on_disk and (not survived or names == kept.on_disk)
        kept.on_disk = names
        self.process = None

    @precondition(lambda self: self.process is None and any(kept.logged for kept in self.kept.values()))
    @rule(which=PLACES, left=PLACES, torn=st.booleans())
    def loses_power(self, which, left, torn):
        """Lines that no checkpoint has made sure of may be lost, the last within it."""
        name = at(which, sorted(name for name, kept in self.kept.items() if kept.logged))
        kept = self.kept[name]
        left = at(left, range(kept.logged + 1))
        log = self._folder(name) / "training.jsonl"
        lines = log.read_text("utf-8").splitlines(keepends=True)
        log.write_text("".join(lines[:left]) + (lines[left][:9] if torn and left < len(lines) else ""), "utf-8")
        kept.logged = left

    @precondition(lambda self: self.process is None and any(kept.saved for kept in self.kept.values()))
    @rule(which=PLACES, step=PLACES, file=PLACES, byte=PLACES)
    def a_bit_flips(self, which, step, file, byte):
        name = at(which, sorted(name for name, kept in self.kept.items() if kept.saved))
        step = at(step, sorted(self.kept[name].saved))
        place = self._folder(name) / f"step-{step:08d}"
        file = at(file, sorted(place.iterdir()))
        content = bytearray(file.read_bytes())
        content[at(byte, range(len(content)))] ^= 1
        before = Manifest.read(place / "manifest.json")
        file.write_bytes(content)
        if file.name != "manifest.json" or not same(file, before):
            del self.kept[name].saved[step]

    @precondition(lambda self: self.process and len(self.process.history) == TOTAL)
    @rule()
    def finish(self):
        process = self.process
        process.segments.end("completed", TOTAL)
        assert process.engine.equals(trained(process.configuration, process.history))
        accepted = [one for one in process.segments.all if one.accepted]
        assert accepted or set(process.history) == {process.code}
        self._check_segments(process.segments.all)
        lines = process.checkpoints.log.read_text("utf-8").splitlines()
        assert [json.loads(line)["step"] for line in lines] == [*range(1, TOTAL + 1)]
        process.checkpoints.clear()
        assert not self.root.exists()
        self.kept, self.process = {}, None

    def _check_segments(self, segments):
        assert len(segments) == self.kept[self.process.configuration].starts
        assert segments[-1].reason == "completed" and segments[-1].to_step == TOTAL
        for one, following in itertools.pairwise(segments):
            assert one.reason == "killed" and one.from_step <= one.to_step
            assert following.checkpoint or following.from_step == 0

    def _folder(self, name):
        return self.root / conditions_of(name, "a", "fp32", 1).configuration

    @invariant()
    def nothing_is_left_that_nobody_knows(self):
        folders = {path.name for path in self.root.iterdir()} if self.root.exists() else set()
        assert folders == {self._folder(name).name for name in self.kept}


@pytest.fixture(autouse=True, scope="module")
def quick_disk(tmp_path_factory):
    # A disk's time is no matter here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(Protocol, "folder", tmp_path_factory.mktemp("protocol"))
        yield


def same(file, manifest):
    """Return whether a manifest still says the same, as it does if a bit of the name of its digest has flipped."""
    try:
        return Manifest.read(file) == manifest
    except DataError:
        return False


def sized(examples, steps):
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@pytest.mark.fault("crash, resume and change in any order (stateful)")
class TestProtocol(Protocol.TestCase):
    """The short form."""

    settings = sized(10, 25)


@pytest.mark.fault("crash, resume and change in any order (stateful)")
@pytest.mark.slow
class TestProtocolAtLength(Protocol.TestCase):
    """The long form."""

    settings = sized(300, 50)
