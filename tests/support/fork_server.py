"""Forks itself, with all libraries imported, for whoever calls the program of forked_python.py.

It ends when its standard input does:  python tests/support/fork_server.py ADDRESS PROGRAM
"""

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import forked_stages
from dnatune.launch import launcher
from dnatune.launch.process_group import die_with_parent
from fork_client import NUMBER

#: How the names of variables begin that libraries, or Python's own modules, read while they are imported.
READ_AT_START = ("CUDA_", "DS_", "HF_", "LANG", "LC_", "PYTHONHASHSEED", "PYTHONWARNINGS", "TORCH", "XDG_")


class Server:
    """Waits for clients, for the ends of their forks, and for its own.

    Attributes:
        at_start: variables that the libraries had when they were imported; Python itself starts what has others.
        has_gpu: whether Python itself starts everything: a fork cannot use a GPU that its parent has looked at.
    """

    def __init__(self, address: str, at_start: Mapping[str, str], has_gpu: bool):
        self.at_start, self.has_gpu = at_start, has_gpu
        self._selector = selectors.DefaultSelector()
        self._wires: dict[int, socket.socket] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Return, in a fork, what its client asks for; None when standard input has ended."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is sys.stdin:
                    return None
                if key.fileobj is not self._listener:
                    self._end(key.fileobj, *key.data)
                elif request := self._accept():
                    return request

    def _accept(self) -> dict[str, Any] | None:
        """Fork for a client; return what it asks for in the fork, and None here."""
        wire, _ = self._listener.accept()
        length, files, _, _ = socket.recv_fds(wire, NUMBER, 3)
        request = json.loads(wire.recv(int.from_bytes(length), socket.MSG_WAITALL))
        parent, process = os.getpid(), 0
        if not self.has_gpu and read_at_start(request["environment"]) == self.at_start:
            process = os.fork()
            if not process:
                self._close()
                wire.close()
                die_with_parent(parent, signal.SIGKILL)
                _become(request, files)
                return request
            self._wires[process] = wire
            # The first can be read when the fork has ended, the second when the client has.
            self._selector.register(os.pidfd_open(process), selectors.EVENT_READ, (process, True))
            self._selector.register(wire, selectors.EVENT_READ, (process, False))
        wire.sendall(process.to_bytes(NUMBER))
        for file in files:
            os.close(file)
        return None

    def _end(self, place: int | socket.socket, process: int, ended: bool) -> None:
        """Tell a client that its fork has ended, or end the fork of a client that has."""
        self._selector.unregister(place)
        if not ended:
            os.kill(process, signal.SIGKILL)
            return
        os.close(place)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        with self._wires.pop(process) as wire, contextlib.suppress(OSError, KeyError):
            wire.sendall(status.to_bytes(NUMBER, signed=True))
            self._selector.unregister(wire)

    def _close(self) -> None:
        """Close, in a fork, what belongs to the server and to the other clients."""
        for key in [*self._selector.get_map().values()]:
            if isinstance(key.fileobj, int):
                os.close(key.fileobj)
        self._selector.close()
        for open_one in (self._listener, *self._wires.values()):
            open_one.close()


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read at import."""
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _become(request: Mapping[str, Any], files: list[int]) -> None:
    """Make this process what its client is: its files, folder, environment and session."""
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None


def main() -> None:
    address, program = sys.argv[1:]
    at_start = read_at_start(os.environ)
    forked_stages.import_libraries()
    import snakemake.cli  # noqa: F401
    import torch

    server = Server(address, at_start, torch.cuda.is_available())
    # Forks share the memory of what is never collected.
    gc.freeze()
    os.write(1, b"ready\n")
    request = server.serve()
    if request:
        sys.executable = program
        launcher.start_process = forked_stages.start_rank
        # The libraries' folders stay behind those of the client.
        sys.path[:0] = filter(None, request["environment"].get("PYTHONPATH", "").split(os.pathsep))
        forked_stages.run_words(request["words"])


if __name__ == "__main__":
    main()
