"""A rank of finetune, one of which meets a fault while a thread writes its second checkpoint; for tests/faults.

The fault waits until training has gone on for some steps, so that it certainly comes while training goes on.
By hand:  python -m dnatune launch --ranks 2 tests/support/faulty_saves.py slow|full|killed RANK <arguments of finetune>
"""

import errno
import os
import signal
import sys
import time
from pathlib import Path

from dnatune.commands import finetune
from dnatune.errors import run_script
from dnatune.files import sync
from dnatune.training import state_files
from dnatune.training.step_log import whole_steps

#: Steps after that of the checkpoint.
LATER = 3


def main() -> None:
    fault, rank = sys.argv.pop(1), sys.argv.pop(1)
    seen: list[Path] = []

    def faulty_sync(path: Path) -> None:
        sync(path)
        folder = path.parent
        if folder not in seen:
            seen.append(folder)
            if len(seen) == 2 and os.environ["RANK"] == rank:
                meet(fault, folder)

    state_files.sync = faulty_sync
    finetune.main()


def meet(fault: str, folder: Path) -> None:
    """Wait until training is some steps ahead of a checkpoint's folder, and then meet the fault."""
    step, ends = int(folder.name[len("step-") :][:8]), time.monotonic() + 100
    while whole_steps(folder.parent / "training.jsonl") < step + LATER:
        if time.monotonic() > ends:
            raise RuntimeError("training stands still while a checkpoint is written")
        time.sleep(0.01)
    sys.stderr.write(f"meets {fault} after step {step}\n")
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "full":
        raise OSError(errno.ENOSPC, "No space left on device")


if __name__ == "__main__":
    run_script(main)
