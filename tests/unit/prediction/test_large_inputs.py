"""Memory does not grow with the input, and nearly all the time is spent on scoring."""

import json
import random
import subprocess
import sys

import pytest

_MEASURED = """
import json, resource, sys, time
from dnatune.commands import predict
from dnatune.model import scoring

spent, score = [], scoring.label_log_probabilities

def timed(*arguments, **options):
    started = time.process_time(), time.perf_counter()
    found = score(*arguments, **options)
    spent.append((time.process_time() - started[0], time.perf_counter() - started[1]))
    return found

scoring.label_log_probabilities = timed
started = time.process_time(), time.perf_counter()
begun = []
from dnatune.prediction import run
whole = run.score

def timed_whole(*arguments):
    begun.append((time.process_time(), time.perf_counter()))
    whole(*arguments)
    begun.append((time.process_time(), time.perf_counter()))

run.score = timed_whole
predict.main()
print(json.dumps({
    "kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "processor_seconds": begun[1][0] - begun[0][0], "scoring_processor_seconds": sum(one for one, _ in spent),
    "seconds": begun[1][1] - begun[0][1], "scoring_seconds": sum(one for _, one in spent),
}))
"""


@pytest.mark.slow
def test_memory_is_that_of_a_small_input_and_the_rate_that_of_scoring(merged, tmp_path):
    dice, found = random.Random(1), {}
    for windows in (30_000, 100_000):
        path, bases = tmp_path / f"{windows}.fa", windows * 10 + 90
        with path.open("w", encoding="utf-8") as stream:
            stream.write(">chromosome\n")
            for start in range(0, bases, 100):
                stream.write("".join(dice.choices("ACGT", k=min(100, bases - start))) + "\n")
        command = [sys.executable, "-c", _MEASURED, "--model", merged, "--input", path, "--width", "100"]
        command += ["--stride", "10", "--output", tmp_path / f"{windows}.tsv"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[windows] = json.loads(done.stdout.splitlines()[-1])
    # The tokenizer keeps what became of its last 10,000 words, so memory grows until it has met as many.
    assert found[100_000]["kilobytes"] < 1.05 * found[30_000]["kilobytes"]
    large = found[100_000]
    # Reading, tokens and files, with all threads of the process counted.
    assert large["seconds"] < 1.1 * large["scoring_seconds"]
