"""A fork ends and begins as a process of its own does."""

import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from dnatune.launch.forks import Fork


def ended(act, environment=None):
    return Fork(act, environment or {}).wait(30)


def test_the_exit_status_is_that_of_what_it_did():
    assert ended(lambda: None) == 0
    assert ended(lambda: sys.exit(0)) == 0
    assert ended(lambda: sys.exit(6)) == 6
    assert ended(lambda: sys.exit("said")) == 1
    assert ended(lambda: os.kill(os.getpid(), signal.SIGKILL)) == -signal.SIGKILL


def test_an_error_is_told_and_stays_in_the_fork(capfd):
    def act():
        raise LookupError("not there")

    assert ended(act) == 1
    assert "LookupError: not there" in capfd.readouterr().err


def test_it_begins_as_a_process_of_its_own(monkeypatch):
    """Signals that its launcher notes, its launcher's log and session are not its own."""
    monkeypatch.setenv("KEPT", "kept")

    def act():
        assert os.getsid(0) == os.getpid()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert not logging.root.handlers
        assert (os.environ["KEPT"], os.environ["RANK"]) == ("kept", "3")

    noted = []
    before = signal.signal(signal.SIGTERM, lambda number, _: noted.append(number))
    logging.root.addHandler(logging.NullHandler())
    try:
        assert ended(act, {"RANK": "3"}) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
        logging.root.handlers.pop()
    assert "RANK" not in os.environ


def test_a_signal_ends_it_and_one_that_comes_late_does_nothing():
    fork = Fork(lambda: time.sleep(60), {})
    assert fork.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        fork.wait(0.1)
    fork.send_signal(signal.SIGTERM)
    assert fork.wait(30) == -signal.SIGTERM == fork.poll()
    fork.send_signal(signal.SIGTERM)
