"""A checkpoint is written while training goes on: whatever happens to the writing, the run ends as it would have."""

import pytest

from dnatune.files import sha256_of_file
from dnatune.training.record import Run
from workflow_runs import said

SHORT = {"budget": {"steps": 60}, "training": {"save_steps": 10}}


def weights(folder):
    return sha256_of_file(folder / "adapter/adapter_model.safetensors")


def saved(folder):
    return sorted(path.name for path in folder.glob("checkpoints/*/step-*"))


@pytest.fixture
def whole(start, tmp_path):
    """The digest of the adapter of a run that nothing has happened to."""

    def made(ranks):
        folder = tmp_path / "whole"
        folder.mkdir()
        said(start(ranks=ranks, folder=folder, **SHORT))
        return weights(folder)

    return made


@pytest.mark.fault("SIGKILL or a full disk while training goes on beside a save")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "ranks", "rank"),
    [("killed", 1, 0), ("killed", 2, 0), ("killed", 2, 1), ("full", 1, 0), ("full", 2, 0), ("full", 2, 1)],
)
def test_what_ends_the_writing_ends_the_run_and_it_goes_on_from_the_checkpoint_before(
    start, whole, tmp_path, fault, ranks, rank
):
    process = start(ranks=ranks, faults=(fault, rank), **SHORT)
    log = "".join(process.communicate(timeout=300))
    assert f"meets {fault} after step 20" in log
    if fault == "killed":
        assert f"rank {rank} was ended by signal 9" in log, log
    else:
        assert process.returncode == 6 and "Traceback" not in log, log
        assert "could not be written: [Errno 28] No space left on device" in log and "df -h" in log
    assert not (tmp_path / "run.json").exists() and not (tmp_path / "adapter").exists()
    assert saved(tmp_path) == ["step-00000010", "step-00000020.partial"]
    log = said(start(ranks=ranks, **SHORT))
    assert "continuing from checkpoint step-00000010" in log
    assert weights(tmp_path) == whole(ranks)
    first, last = Run.read(tmp_path / "run.json").segments
    # The first rank keeps the record. One that has only lost another can still say that it failed.
    assert first.reason == ("killed" if (fault, rank) == ("killed", 0) else "failed")
    # It had trained while the checkpoint was written.
    assert first.to_step >= 23 and last.from_step == 10 and last.reason == "completed"


@pytest.mark.slow
def test_a_slow_disk_holds_up_no_step_and_changes_nothing(start, whole, tmp_path):
    log = said(start(ranks=2, faults=("slow", 1), **SHORT))
    assert "meets slow after step 20" in log
    assert "step-00000020 is on disk after" in log and "step-00000050 is on disk after" in log
    assert weights(tmp_path) == whole(2)
