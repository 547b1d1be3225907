"""Which failed jobs Snakemake tries again, and the Snakemake that these decisions were tested with."""

import os
import types
from pathlib import Path

import pytest
import snakemake
from snakemake import jobs as snakemake_jobs

from dnatune import outcomes
from dnatune.errors import ConfigurationError, DataError, DownloadError, Interrupted, ModelError, RunError
from dnatune.launch import end_signals, resubmission, slurm


class Job:
    """A job of Snakemake, as far as retries ask."""

    def __init__(self, log: Path, retries=2):
        self.log, self.rule = [str(log)], types.SimpleNamespace(restart_times=retries)


def failed(tmp_path, failure=None, log="words that only look like it\ndnatune: DataError: of another\n"):
    file = tmp_path / "stage.log"
    file.write_text(log)
    if failure:
        outcomes.write(outcomes.beside(file), failure)
    return Job(file)


@pytest.mark.parametrize("kind", [ConfigurationError, DataError, ModelError])
def test_what_would_fail_again_is_not_tried_again(tmp_path, kind):
    assert resubmission.Resubmission(True).retries(failed(tmp_path, kind("it is odd"))) == 0


@pytest.mark.parametrize("failure", [None, DownloadError("away"), RunError("broken"), Interrupted("saved", step=7)])
def test_other_failures_are_tried_as_often_as_the_profile_says(tmp_path, failure):
    """No text of the log counts."""
    assert resubmission.Resubmission(True).retries(failed(tmp_path, failure)) == 2


def test_a_snakemake_that_was_told_to_end_tries_nothing_again(tmp_path, monkeypatch):
    monkeypatch.setattr(end_signals, "told_to_end", lambda: True)
    assert resubmission.Resubmission(True).retries(failed(tmp_path, Interrupted("saved", step=7))) == 0


def test_a_saved_run_uses_no_retry_and_counts_once(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "job_state", lambda number: "FAILED")
    decisions, one = resubmission.Resubmission(True), failed(tmp_path, Interrupted("saved", step=7))
    decisions.number_of(one, "77")
    # Asked twice about one end of the job.
    assert [decisions.retries(one) for _ in range(2)] == [3, 3]
    outcome = outcomes.beside(Path(one.log[0]))
    outcomes.write(outcome, Interrupted("saved", step=9))
    os.utime(outcome, ns=(1, 1))
    assert decisions.retries(one) == 4
    outcomes.write(outcome, RunError("broken"))
    assert decisions.retries(one) == 4


@pytest.mark.parametrize(("state", "retries"), [("CANCELLED", 0), ("NODE_FAIL", 2), ("TIMEOUT", 2), (None, 2)])
def test_a_cancelled_job_is_not_tried_again(tmp_path, monkeypatch, state, retries):
    monkeypatch.setattr(slurm, "job_state", lambda number: state if number == "77" else "unknown")
    decisions, one = resubmission.Resubmission(True), failed(tmp_path)
    decisions.number_of(one, "77")
    assert decisions.retries(one) == retries


def test_a_job_inside_slurm_keeps_its_number_with_its_outputs(tmp_path):
    inside = resubmission.Resubmission(False, {"SLURM_JOB_ID": "42"})
    assert inside.number_of(failed(tmp_path), None) == "42"
    assert resubmission.Resubmission(True, {"SLURM_JOB_ID": "42"}).number_of(failed(tmp_path), None) is None


def test_snakemakes_methods_are_replaced(tmp_path, monkeypatch):
    """On copies of Snakemake's classes: what they register, and when they register once more."""
    registered, ended = [], []

    class Single:
        def register(self, external_jobid=None):
            registered.append(external_jobid)

        async def postprocess(self, error=False, **options):
            ended.append((error, options))

        restart_times = property(lambda self: 5)

    group = type("GroupJob", (), {"restart_times": 5, "jobs": ()})
    jobs = types.SimpleNamespace(Job=Single, GroupJob=group)
    resubmission.Resubmission(False, {"SLURM_JOB_ID": "42"}).install(snakemake.__version__, jobs)
    one = Single()
    one.log, one.rule = failed(tmp_path, DataError("odd")).log, types.SimpleNamespace(restart_times=2)
    one.register()
    for options in ({"handle_log": False}, {"error": True}):
        # It waits for nothing. Another test's event loop may run in this process.
        with pytest.raises(StopIteration):
            one.postprocess(**options).send(None)
    assert registered == ["42", "42"] and ended == [(False, {"handle_log": False}), (True, {})]
    assert one.restart_times == 0
    together = group()
    together.jobs = (one, types.SimpleNamespace(restart_times=2))
    assert together.restart_times == 0


def test_the_snakemake_of_the_lock_is_one_that_was_tested():
    resubmission.check_snakemake(snakemake.__version__, snakemake_jobs)


@pytest.mark.parametrize("version", ["9.26.3", "9.28.0", "10.0", "8.30.0"])
def test_another_snakemake_is_refused(version):
    with pytest.raises(ConfigurationError, match=version) as caught:
        resubmission.check_snakemake(version, snakemake_jobs)
    assert "9.27" in caught.value.fix


@pytest.mark.parametrize("lacking", ["register", "postprocess", "restart_times"])
def test_a_snakemake_that_lacks_what_is_replaced_is_refused(lacking):
    members = {name: value for name, value in vars(snakemake_jobs.Job).items() if name != lacking}
    jobs = types.SimpleNamespace(
        Job=type("Job", (), {name: value for name, value in members.items() if not name.startswith("__")}),
        GroupJob=snakemake_jobs.GroupJob,
    )
    with pytest.raises(ConfigurationError, match=f"Job.{lacking}"):
        resubmission.check_snakemake("9.27.1", jobs)


@pytest.mark.parametrize(
    ("jobs", "found"),
    [({"12", "14"}, ["12"]), ({"13"}, []), (set(), [])],
    ids=["one is pending", "another's", "none"],
)
def test_a_job_that_would_start_later_is_refused(tmp_path, monkeypatch, jobs, found):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho '12|PENDING|rule_finetune_wildcards_a_b_c_1'\necho '99|PENDING|(null)'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    if not found:
        resubmission.refuse_pending(jobs)
        return
    with pytest.raises(RunError) as caught:
        resubmission.refuse_pending(jobs)
    assert "12 (rule_finetune_wildcards_a_b_c_1)" in caught.value.what
    assert caught.value.fix.startswith("scancel 12;")


def test_where_slurm_cannot_be_asked_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    resubmission.refuse_pending({"12"})
