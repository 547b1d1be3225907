"""Stands for a process that a server has forked: same arguments, output, signals and end; see forked_python.py.

It imports next to nothing, so that it starts at once.
"""

import contextlib
import json
import os
import signal
import socket
import sys

#: Bytes of a number on the wire: a length, a process or its exit status.
NUMBER = 8
#: What is passed on; a process that is killed takes its fork with it, because the server then sees the wire's end.
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def main(address: str) -> None:
    words = sys.argv[1:]
    if words[:1] != ["-m"] and not words[0].endswith(".py"):
        _start(words)
    # Path.cwd() would import twice as much as all of this.
    request = json.dumps({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(address)
        socket.send_fds(wire, [len(request).to_bytes(NUMBER)], [0, 1, 2])
        wire.sendall(request)
        process = int.from_bytes(wire.recv(NUMBER, socket.MSG_WAITALL))
        if not process:
            _start(words)
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _: _send(process, number))
        status = int.from_bytes(wire.recv(NUMBER, socket.MSG_WAITALL), signed=True)
    if status < 0:
        if -status in _PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _send(process: int, number: int) -> None:
    # It may just have ended; its status is on the way then.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _start(words: list[str]) -> None:
    """Become Python itself."""
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606
