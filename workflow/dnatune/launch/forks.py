"""Ranks as forks of their launcher, which has imported the libraries: importing takes most of a short run's start."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping

from dnatune.launch.process_group import die_with_parent

#: Exit status of a process that ends with an error of Python, as of the interpreter's own.
_FAILED = 1
_POLL_SECONDS = 0.02


class Fork:
    """A fork of this process, with the part of subprocess.Popen that the launcher uses.

    CUDA cannot be used in a fork of a process that has used it.

    Args:
        act: what the fork does; SystemExit gives its exit status.
        environment: what its environment has beside this process' own.
    """

    def __init__(self, act: Callable[[], None], environment: Mapping[str, str]):
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        self._code: int | None = None
        if not self.pid:
            code = _FAILED
            try:
                _begin(parent, environment)
                act()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else _FAILED
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def poll(self) -> int | None:
        """Return the exit status, negative after a signal; None while it runs."""
        if self._code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if found else None
        return self._code

    def wait(self, timeout: float) -> int:
        """Return the exit status when it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after that many seconds.
        """
        ends = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > ends:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(_POLL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _begin(parent: int, environment: Mapping[str, str]) -> None:
    """Leave a fork as a process is that an interpreter has just begun."""
    os.setsid()
    die_with_parent(parent, signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    logging.root.handlers.clear()
    logging.root.setLevel(logging.WARNING)
    os.environ.update(environment)
