"""Kill a process before each of its file operations, one after another."""

import os
import signal
import sys
from collections.abc import Callable, Iterator

#: What Python reports before it changes a file system (docs.python.org/3/library/audit_events.html).
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.truncate")


def kill_at_each_operation(action: Callable[[], None]) -> Iterator[int]:
    """Run an action in processes of their own, each killed one file operation later than the one before.

    Yields:
        The number of the operation before which the process was killed, after its death. The last process, which no
        kill reaches, must succeed.
    """
    number = 1
    while not kill_before(number, action):
        yield number
        number += 1


def kill_before(number: int, action: Callable[[], None]) -> bool:
    """Run an action in a process of its own, which is killed before its file operation `number`.

    Returns:
        Whether the action has fewer operations, and so ended by itself; it must then succeed.
    """
    child = os.fork()
    if child == 0:
        _run(action, number)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, f"the action failed, exit status {os.WEXITSTATUS(status)}"
        return True
    assert os.WTERMSIG(status) == signal.SIGKILL
    return False


def _run(action: Callable[[], None], number: int) -> None:
    """Run the action, die before operation `number`, and leave without pytest's own end."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    status = 1
    try:
        sys.addaudithook(watch)
        action()
        status = 0
    finally:
        os._exit(status)
