"""What dnatune asks Slurm's programs, which stand here as shell scripts."""

import signal

import pytest

from dnatune.launch import slurm
from slurm_programs import program


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ("echo RUNNING", "RUNNING"),
        ("true", "GONE"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "GONE"),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", None),
    ],
)
def test_a_jobs_state(tmp_path, monkeypatch, body, state):
    program(tmp_path, monkeypatch, "squeue", body)
    assert slurm.job_state("77") == state


def test_without_slurm_there_is_no_state_and_nothing_pends(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.job_state("77") is None and slurm.pending_jobs() == {} and slurm.jobs_named("mine") == []
    slurm.cancel(["77"])


def test_jobs_of_a_name_are_found_signalled_and_cancelled(tmp_path, monkeypatch):
    program(tmp_path, monkeypatch, "squeue", "echo \"$@\" >&2; echo '8|RUNNING|rule_a'; echo '9|PENDING|'")
    assert slurm.jobs_named("mine") == [("8", "RUNNING", "rule_a"), ("9", "PENDING", "")]
    said = tmp_path / "said"
    program(tmp_path, monkeypatch, "scancel", f'echo "$@" >> {said}; exit 1')
    slurm.cancel({"9", "8"}, signal.SIGUSR1)
    slurm.cancel({"9"})
    slurm.cancel(set())
    assert said.read_text() == "--signal=USR1 8 9\n9\n"


@pytest.mark.parametrize("refusals", [0, 2, 9])
def test_a_requeue_that_is_refused_is_tried_again_and_told(tmp_path, monkeypatch, caplog, refusals):
    count = tmp_path / "count"
    count.touch()
    body = (
        f'echo "$@" >> {count}\n[ $(wc -l < {count}) -gt {refusals} ] || {{ echo "controller is busy" >&2; exit 1; }}'
    )
    program(tmp_path, monkeypatch, "scontrol", body)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    slept = []
    monkeypatch.setattr(slurm.time, "sleep", slept.append)
    refusal = slurm.requeue()
    assert (refusal is None) == (refusals < 3)
    tries = min(refusals + 1, 3)
    assert count.read_text() == "requeue 77\n" * tries
    assert caplog.text.count("`scontrol requeue 77` says: controller is busy") == min(refusals, 3)
    # Slurm gets time to end the job only where it said that it would.
    assert (slurm._REQUEUE_SECONDS in slept) == (refusals < 3)
    # Waiting for the program to answer is made of shorter ones.
    assert [seconds for seconds in slept if 1 < seconds < slurm._REQUEUE_SECONDS] == [20] * (tries - 1)
