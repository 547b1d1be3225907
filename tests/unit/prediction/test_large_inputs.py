"""Memory does not grow with the input, nearly all the time is spent on scoring, and a killed prediction goes on."""

import json
import subprocess
import sys

import pytest

from samples import ROOT


@pytest.mark.slow
def test_memory_is_that_of_a_small_input_and_the_rate_that_of_scoring(merged):
    command = [sys.executable, ROOT / "benchmarks/prediction.py", merged, "--windows", "100000", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    # The tokenizer keeps what became of its last 10,000 words, so memory grows until it has met as many.
    assert found["resident_mb"]["1.0"] < 1.05 * found["resident_mb"]["0.25"]
    # Reading, tokens and files, with all threads of the process counted.
    assert found["seconds"] < 1.1 * found["scoring_seconds"]
    assert found["same_bytes"] and found["rows"] == 100_000 and len(found["killed_after"]) == 3
