"""Checkpoints are whole, on disk and private, and a run goes on only from one that fits it."""

import errno
import json
import logging
import shutil
import threading

import pytest
import torch

from dnatune.errors import ConfigurationError
from dnatune.launch.process_group import Rank
from dnatune.training import checkpoints as checkpoints_module
from dnatune.training import state_files
from dnatune.training.checkpoints import Checkpoints
from kills import kill_at_each_operation
from run_records import conditions, software
from small_engine import SmallEngine

STEP = {"gradient_evaluations": 0, "repeated_evaluations": 0, "seconds": 0.0}


def of(root, limit=3, **changes):
    return Checkpoints(root, limit, Rank(0, 1, "cpu"), conditions(**changes))


def log_steps(checkpoints, steps):
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(1, steps + 1)]
    checkpoints.log.write_text("\n".join(lines))


def save(checkpoints, engine, step):
    progress = STEP | {"step": step, "best_step": step - 1}
    checkpoints.save(engine.train_to(step), step, progress, {"micro_batch_size": 4}, {"weight": torch.tensor(step)})
    checkpoints.finish()


def found(checkpoints, **options):
    """Return the step of the checkpoint from which a run would go on, and check that its state is that of the step."""
    chosen = checkpoints.find(**options)
    if chosen is None:
        return None
    engine = SmallEngine()
    checkpoints.load(engine, chosen)
    step = chosen.saved.progress["step"]
    assert engine.equals(SmallEngine().train_to(step))
    best = checkpoints.load_best(chosen)
    assert best == ({"weight": step} if "best_step" in chosen.saved.progress else {})
    return step


@pytest.fixture
def root(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def engine():
    return SmallEngine()


@pytest.fixture
def checkpoints(root, engine):
    made = of(root)
    assert made.find() is None
    for step in (5, 10):
        save(made, engine, step)
    log_steps(made, 30)
    return made


def test_the_newest_is_loaded_and_the_oldest_are_deleted(checkpoints, engine):
    for step in (15, 20):
        save(checkpoints, engine, step)
    assert found(checkpoints) == 20
    assert sorted(path.name for path in checkpoints.folder.glob("step-*")) == [f"step-000000{n}" for n in (10, 15, 20)]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.fault("flipped, cut, missing and foreign files")
@pytest.mark.parametrize(
    "damage",
    [
        lambda place: flip(place / "state.json"),
        lambda place: flip(place / "rank-00000-00000.safetensors"),
        lambda place: (place / "common.json").write_bytes(b""),
        lambda place: (place / "common-00000.safetensors").unlink(),
        lambda place: (place / "manifest.json").unlink(),
        lambda place: flip(place / "manifest.json"),
        lambda place: (place / "manifest.json").write_text("[]"),
        lambda place: (place / "manifest.json").write_text('{"files": []}'),
        lambda place: (place / "manifest.json").write_bytes(b'{"files": {"\xff": ""}}'),
        lambda place: ((place / "state.json").unlink(), (place / "manifest.json").write_text('{"files": {}}')),
        lambda place: (shutil.rmtree(place), place.mkdir()),
        lambda place: (shutil.rmtree(place), place.write_text("")),
    ],
)
def test_a_damaged_one_is_passed_over_and_written_again(checkpoints, engine, damage):
    damage(checkpoints.folder / "step-00000010")
    assert found(checkpoints) == 5
    if (checkpoints.folder / "step-00000010").is_file():
        return
    save(checkpoints, engine, 10)
    assert found(checkpoints) == 10


def test_a_run_without_a_usable_one_says_that_it_begins_again(checkpoints, caplog):
    for place in checkpoints.folder.glob("step-*"):
        flip(place / "state.json")
    assert checkpoints.find() is None
    assert f"training starts at step 0: no checkpoint in {checkpoints.folder} can be used" in caplog.text


def test_a_run_that_went_back_keeps_what_it_saves(root, engine):
    made = of(root, limit=2)
    assert made.find() is None
    for step in (5, 10):
        save(made, engine, step)
    log_steps(made, 3)
    assert found(made) is None
    again = SmallEngine()
    for step in (2, 3):
        save(made, again, step)
    assert sorted(path.name for path in made.folder.glob("step-*")) == ["step-00000002", "step-00000003"]
    assert found(made) == 3


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_stray_files_are_passed_over(checkpoints):
    for name in ("step-", "step-99", "step-00000099.partial", "step-00000099.old", "step-0000009x"):
        (checkpoints.folder / name).mkdir()
    (checkpoints.folder / "step-00000098").write_text("")
    log_steps(checkpoints, 100)
    assert found(checkpoints) == 10


def test_a_log_that_is_behind_takes_the_checkpoint_that_it_fits(checkpoints, caplog):
    log_steps(checkpoints, 9)
    assert found(checkpoints) == 5
    assert "only 9 whole steps: checkpoint step-00000010 is skipped" in caplog.text
    log_steps(checkpoints, 4)
    assert found(checkpoints) is None


@pytest.mark.fault("SIGKILL before each file operation")
def test_a_save_that_is_killed_leaves_the_checkpoints_before_it(checkpoints, engine, record_property):
    for number in kill_at_each_operation(lambda: save(checkpoints, engine, 15)):
        assert found(checkpoints) in (10, 15), number
    assert number > 5
    record_property("cases", number)
    assert found(checkpoints) == 15


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk on which no file of a state is, until the event is set."""
    ready = threading.Event()
    monkeypatch.setattr(state_files, "sync", lambda path: ready.wait(60))
    yield ready
    ready.set()


def named(checkpoints):
    return sorted(int(path.name[-8:]) for path in checkpoints.folder.glob("step-????????"))


def test_training_goes_on_while_the_state_of_a_step_is_written(checkpoints, engine, slow_disk):
    checkpoints.save(engine.train_to(15), 15, STEP | {"step": 15}, {}, {})
    engine.train_to(18)
    assert checkpoints.at_work and not checkpoints.failed
    checkpoints.go_on(at_work=1, failed=0)
    assert named(checkpoints) == [5, 10]
    slow_disk.set()
    checkpoints.finish()
    assert not checkpoints.at_work
    # The state is that of step 15, although it was written after step 18.
    assert found(checkpoints) == 15


def test_one_save_at_a_time(checkpoints, engine, slow_disk, caplog):
    caplog.set_level(logging.INFO)
    checkpoints.save(engine.train_to(15), 15, STEP | {"step": 15}, {}, {})
    threading.Timer(0.2, slow_disk.set).start()
    checkpoints.save(engine.train_to(20), 20, STEP | {"step": 20}, {}, {})
    assert "step-00000020 waits until step-00000015 is on disk" in caplog.text
    assert named(checkpoints) == [5, 10, 15]
    checkpoints.finish()
    assert found(checkpoints) == 20


def test_a_name_is_given_between_two_steps(checkpoints, engine):
    checkpoints.save(engine.train_to(15), 15, STEP | {"step": 15}, {}, {})
    for _ in range(2):
        assert named(checkpoints) == [5, 10]
        while checkpoints.at_work:
            pass
        checkpoints.go_on(at_work=0, failed=0)
    assert found(checkpoints) == 15


@pytest.mark.parametrize("module", [state_files, checkpoints_module])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_an_error_of_the_thread_ends_the_run(checkpoints, engine, monkeypatch, module, number, at_the_end):
    """While the state is written, and while the folder gets its name."""

    def refuse(*_):
        raise OSError(number, "refused")

    monkeypatch.setattr(module, "sync" if module is state_files else "put_in_place", refuse)
    checkpoints.save(engine.train_to(15), 15, STEP | {"step": 15}, {}, {})
    with pytest.raises(OSError, match="refused") as caught:
        if at_the_end:
            checkpoints.finish()
        while True:
            checkpoints.go_on(checkpoints.at_work, checkpoints.failed)
    assert caught.value.errno == number
    monkeypatch.undo()
    again = of(checkpoints.root)
    assert found(again) == 10
    # What was half written is gone, and the next save is not disturbed by it.
    assert sorted(path.name for path in again.folder.glob("step-*")) == ["step-00000005", "step-00000010"]
    save(again, SmallEngine(), 15)
    assert found(again) == 15


def test_nobody_else_may_enter(checkpoints):
    assert checkpoints.folder.stat().st_mode & 0o777 == 0o700


def test_what_cannot_change_a_result_goes_on_without_a_word(checkpoints, root, caplog):
    for key, value in (("training.logging_steps", 3), ("training.accept_code_change", True), ("name", "other")):
        assert found(of(root, key=key, value=value)) == 10
    assert "otherwise" not in caplog.text


@pytest.mark.fault("other ranks, key, code or DeepSpeed file")
def test_another_configuration_begins_at_step_0_and_says_what_differs(checkpoints, root, engine, caplog):
    other = of(root, key="optimizers.adamw.learning_rate", value=0.5)
    assert other.find() is None
    assert "(step 10) are of another configuration and are not used" in caplog.text
    (said,) = [part for part in caplog.text.split(": ") if "learning_rate" in part or "→ 0.5" in part][-1:]
    assert "→ 0.5" in said and "They are kept until this run is complete" in said
    # Whoever changes it back loses nothing.
    assert found(of(root)) == 10
    other.clear()
    assert not root.exists()


@pytest.mark.fault("other ranks, key, code or DeepSpeed file")
def test_other_training_data_are_another_configuration(checkpoints, root, caplog):
    changed = conditions().inputs.model_copy(update={"train": "1" * 64})
    assert of(root, inputs=changed).find() is None
    assert f"training split: {'0' * 64} → {'1' * 64}" in caplog.text


@pytest.mark.fault("flipped, cut, missing and foreign files")
def test_state_that_fits_nothing_is_removed(checkpoints, root, caplog):
    earlier, damaged, stranger = root / "0123456789abcdef", root / ("f" * 16), root / "notes"
    (earlier / "step-00000003").mkdir(parents=True)
    (earlier / "step-00000003/mp_rank_00_model_states.pt").write_bytes(b"a pickle")
    shutil.copytree(checkpoints.folder, damaged)
    for place in damaged.glob("step-*"):
        flip(place / "manifest.json")
    stranger.mkdir()
    assert found(checkpoints) == 10
    assert sorted(root.iterdir()) == sorted([checkpoints.folder, stranger])
    assert f"removed {earlier}: nothing in it can be continued" in caplog.text


@pytest.mark.fault("other ranks, key, code or DeepSpeed file")
def test_other_code_is_named_and_goes_on_only_if_that_is_accepted(checkpoints, root, caplog):
    caplog.set_level(logging.INFO)
    now = {**software("bbbb"), "torch": "2.14.0"}
    other = of(root, software=conditions().software.model_copy(update=now))
    with pytest.raises(ConfigurationError) as caught:
        other.find()
    assert caught.value.what == "the saved run was begun otherwise: code: aaaa → bbbb; torch: 2.13.0 → 2.14.0"
    assert "--accept-code-change" in caught.value.fix and str(other.folder) in caught.value.fix
    assert found(other, accept=True) == 10
    assert other.find(accept=True).accepted == ["code: aaaa → bbbb", "torch: 2.13.0 → 2.14.0"]
    assert "the run goes on although it was begun otherwise: code: aaaa → bbbb" in caplog.text
    # The run that began it may still go on.
    assert found(of(root)) == 10


@pytest.mark.fault("other ranks, key, code or DeepSpeed file")
@pytest.mark.parametrize(("change", "told"), [({"ranks": 2}, "ranks: 1 → 2"), ({"precision": "bf16"}, "fp32 → bf16")])
@pytest.mark.parametrize("accept", [False, True])
def test_a_state_that_is_cut_otherwise_is_never_taken(checkpoints, root, change, told, accept):
    with pytest.raises(ConfigurationError, match=told) as caught:
        of(root, **change, code="bbbb").find(accept=accept)
    # One message says all.
    assert "code: aaaa → bbbb" in caught.value.what and "accept" not in caught.value.fix
    assert found(of(root)) == 10
