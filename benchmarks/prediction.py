#!/usr/bin/env python
"""Measure `predict` on very many windows of a random chromosome, and print a table.

One prediction runs to its end: resident memory on the way, and which share of the time is spent on scoring. Another is
killed (SIGKILL) after a quarter, a half and three quarters of its rows, goes on each time with the same command, and
must end in the same file, byte for byte.

By hand:  .venv/bin/python benchmarks/prediction.py results/demo/merge/tiny/prom_core_all/adamw/seed0
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow")]

from dnatune.files import sha256_of_file  # noqa: E402

WIDTH, STRIDE = 100, 10
#: Shares of the rows after which memory is noted, and after which the other prediction is killed.
NOTED, KILLED = (0.06, 0.1, 0.25, 0.5, 0.75, 1.0), (0.25, 0.5, 0.75)
#: First argument of the process that predicts and measures itself.
MEASURED = "--measured"


def main() -> None:
    """Predict twice, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a merged model")
    parser.add_argument("--windows", type=int, default=1_000_000, help="number of windows (default: 1,000,000)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dnatune-prediction-") as name:
        folder = Path(name)
        write_chromosome(folder / "chromosome.fa", options.windows)
        arguments = ["--model", options.model, "--input", folder / "chromosome.fa"]
        arguments += ["--width", WIDTH, "--stride", STRIDE, "--output"]
        whole, killed = folder / "whole.tsv", folder / "killed.tsv"
        command = [sys.executable, __file__, MEASURED, *map(str, arguments), str(whole)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        found |= {"windows": options.windows, "killed_after": kill_and_go_on(arguments, killed, found["parts"])}
        found["same_bytes"] = sha256_of_file(whole) == sha256_of_file(killed)
        with whole.open(encoding="utf-8") as stream:
            found["rows"] = sum(1 for _ in stream) - 1
    sys.stdout.write((json.dumps(found) if options.json else table(found)) + "\n")
    sys.exit(0 if found["same_bytes"] and found["rows"] == options.windows else 1)


def write_chromosome(path: Path, windows: int) -> None:
    """Write a FASTA file of one random sequence that has so many windows."""
    bases = np.frombuffer(b"ACGT", np.uint8)[np.random.default_rng(1).integers(0, 4, (windows - 1) * STRIDE + WIDTH)]
    with path.open("wb") as stream:
        stream.write(b">chromosome\n")
        for start in range(0, len(bases), 100):
            stream.write(bases[start : start + 100].tobytes() + b"\n")


def measure(arguments: list[str]) -> None:
    """Predict in this process, and print what it needed as a line of JSON."""
    from dnatune.commands import predict
    from dnatune.model import scoring
    from dnatune.prediction import run
    from dnatune.prediction.parts import Parts

    scored, whole, memory = Stopwatch(), Stopwatch(), []
    write = Parts.write

    def noting_write(parts: Parts, number: int, *rest: Any) -> None:
        write(parts, number, *rest)
        memory.append(resident())

    Parts.write = noting_write
    scoring.label_log_probabilities = scored.around(scoring.label_log_probabilities)
    run.score = whole.around(run.score)
    sys.argv = ["predict", *arguments]
    predict.main()
    found = {"parts": len(memory), "seconds": whole.wall, "scoring_seconds": scored.wall}
    found |= {"processor_seconds": whole.processor, "scoring_processor_seconds": scored.processor}
    found["resident_mb"] = {share: memory[max(0, round(share * len(memory)) - 1)] // 1000 for share in NOTED}
    found["highest_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    sys.stdout.write(json.dumps(found) + "\n")


class Stopwatch:
    """Adds up the time of a function's calls: by the clock, and of the processor with all threads."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def around(self, function: Any) -> Any:
        """Return the function with its time taken."""

        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter(), time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.wall += time.perf_counter() - began[0]
                self.processor += time.process_time() - began[1]

        return timed


def resident() -> int:
    """Return the resident memory of this process in kB."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def kill_and_go_on(arguments: list[Any], output: Path, parts: int) -> list[int]:
    """Predict, killed on the way and started again by the same command; return after which parts it was killed."""
    command = [sys.executable, "-m", "dnatune", "predict", *map(str, arguments), str(output)]
    found = []
    for share in KILLED:
        process = subprocess.Popen(command, cwd=ROOT / "workflow", stderr=subprocess.DEVNULL)
        while len(made := [*output.parent.glob(f"{output.name}.parts/*/*.parquet")]) < share * parts:
            if process.poll() is not None:
                sys.exit("it ended before it was killed: take more windows")
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        found.append(len(made))
    subprocess.run(command, cwd=ROOT / "workflow", stderr=subprocess.DEVNULL, check=True)
    return found


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    memory = ", ".join(f"{size} MB" for size in found["resident_mb"].values())
    shares = ", ".join(f"{float(share):.0%}" for share in found["resident_mb"])
    more = found["processor_seconds"] / found["scoring_processor_seconds"] - 1
    slower = found["seconds"] / found["scoring_seconds"] - 1
    rows = {
        "windows": f"{found['windows']:,}",
        "processor time of scoring, of all": f"{found['scoring_processor_seconds']:.0f} s, "
        f"{found['processor_seconds']:.0f} s ({more:.1%} more)",
        "wall time of scoring, of all": f"{found['scoring_seconds']:.0f} s, "
        f"{found['seconds']:.0f} s ({slower:.1%} more)",
        "windows per second": f"{found['windows'] / found['seconds']:,.0f}",
        f"resident memory after {shares} of the rows": memory,
        "highest resident memory": f"{found['highest_mb']} MB",
        "killed after parts, of": f"{', '.join(map(str, found['killed_after']))}, {found['parts']}",
        "the killed one ends in the same file": "yes" if found["same_bytes"] else "NO",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


if __name__ == "__main__":
    measure(sys.argv[2:]) if sys.argv[1:2] == [MEASURED] else main()
