"""Trainings of which one rank is killed before one file operation after another; for tests/faults.

Each training, and each start after it, is `python -m dnatune launch … finetune …` in forks of this process.
By hand:  python tests/support/killed_trainings.py FOLDER RANK STEP <arguments of launch>
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from dnatune.files import sha256_of_file
from forked_stages import import_libraries, run
from kills import CHANGES

WEIGHTS = "adapter/adapter_model.safetensors"


def kill_at(number: int, step: str, note: Path) -> None:
    """Die before file operation `number`, counted from the first on the checkpoint of a step; note which it was."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (event in CHANGES or writes) or str(arguments[0]).startswith(("/dev/", "/proc/")):
            return
        if count or step in str(arguments[0]):
            count += 1
            if count == number:
                descriptor = os.open(note, os.O_WRONLY | os.O_CREAT)
                os.write(descriptor, f"{event} {Path(str(arguments[0])).name}".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main() -> None:
    folder, victim, step, *arguments = sys.argv[1:]
    import_libraries()
    made = Path(folder)
    log, note = made.with_name(f"{made.name}.log"), made.with_name("killed.txt")

    def train(number: int | None = None) -> int:
        def in_rank(rank: int) -> None:
            if number and rank == int(victim):
                kill_at(number, step, note)

        made.mkdir(exist_ok=True)
        return run(["launch", *arguments], made.parent, log, in_rank)

    def left() -> dict[str, str]:
        return {str(path.relative_to(made)): sha256_of_file(path) for path in made.rglob("*") if path.is_file()}

    if train():
        sys.exit(log.read_text("utf-8"))
    whole, number = left(), 1
    while True:
        shutil.rmtree(made)
        note.unlink(missing_ok=True)
        code = train(number)
        if not note.exists():
            # It has fewer operations than that.
            sys.exit(log.read_text("utf-8") if code else 0)
        again = train()
        said, found = log.read_text("utf-8"), left()
        same = found.get(WEIGHTS) == whole[WEIGHTS] and found.keys() == whole.keys()
        went_on = said.split("continuing from checkpoint ")[1].split()[0] if "continuing from" in said else None
        outcome = {"operation": number, "before": note.read_text("utf-8"), "again": again, "from": went_on}
        outcome |= {"same": same, "said": "" if same and not again else said[-3000:]}
        sys.stdout.write(json.dumps(outcome) + "\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    main()
