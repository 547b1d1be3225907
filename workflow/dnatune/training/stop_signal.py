"""How training learns that its job is about to end."""

import signal
from typing import Any


class StopSignal:
    """Notes SIGUSR1, which a scheduler sends before it ends the job, and SIGTERM, which the launcher passes on.

    The loop acts on it after the current step.
    """

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGUSR1, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, *_: Any) -> None:
        self.received = True
