"""Snakemake as a user starts it: in a folder of its own, with a configuration and a site of its own."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

import forked_python

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
#: Nothing here may wait for ever; the longest run, the demo on a test cluster, takes a quarter of an hour.
TIMEOUT_SECONDS = 1800

#: The run of the small configuration that trains to its end.
RUN = "finetune/tiny/prom_core_all/adamw/seed3"
_ONE_RANK = {"ranks_per_node": 1, "cpus_per_rank": 1, "mem_mb": 2000, "runtime": "1h"}
#: A chain of two runs that costs little: one learns to answer with a label, the other's first update throws it off.
_SMALL = {
    "name": "small",
    "models": {
        "tiny": {
            "source": "tiny",
            "tiny": {"hidden_size": 32, "layers": 1, "intermediate_size": 64, "vocabulary": 600},
        }
    },
    "data": {"source": "simulated", "simulated": {"train_size": 320, "dev_size": 40, "test_size": 60}},
    "tasks": ["prom_core_all"],
    "seeds": [3],
    "budget": {"steps": 40},
    "optimizers": {
        "adamw": {"learning_rate": 2.0e-2, "weight_decay": 0.01},
        "wild": {"method": "sgd", "learning_rate": 1.0e4},
    },
    "lora": {"rank": 4, "alpha": 16, "dropout": 0.0},
    "training": {
        "global_batch_size": 32,
        "gradient_checkpointing": False,
        "precision": "fp32",
        "evaluation_steps": 20,
    },
    "evaluation": {"batch_size": 32},
}


def small(**changes: Any) -> dict[str, Any]:
    """Return the small configuration with some keys laid over it, maps merged key by key; None takes a key away."""
    return merged(_SMALL, changes)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a map with another laid over it, maps key by key; None takes a key away."""
    result = {key: merged(value, {}) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


@dataclasses.dataclass(frozen=True)
class Finished:
    """An ended process.

    Attributes:
        code: exit status.
        output: all that it printed, standard output and error together.
    """

    code: int
    output: str


def run(command: Iterable[str | Path], cwd: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Finished(done.returncode, done.stdout)


def said(process: subprocess.Popen) -> str:
    """Return the log of a training that must end well."""
    try:
        _, log = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, log
    return log


def wait_for(process: subprocess.Popen, folder: Path, pattern: str) -> None:
    """Return when a running process has made a file."""
    ends = time.monotonic() + 240
    while not [*folder.glob(pattern)]:
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.05)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a dry run would do.

    Attributes:
        counts: jobs of each rule, the target rule `all` left out.
        outputs: all files and folders that they would make.
    """

    counts: dict[str, int]
    outputs: tuple[str, ...]


class Workplace:
    """A folder from which the workflow is run; its results, logs and Snakemake's own records lie below it.

    Attributes:
        python: what Snakemake and its jobs are run by; forks of a process that has imported the libraries, or Python.
    """

    def __init__(self, folder: Path, python: str | Path | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.python = python or forked_python.interpreter()
        self.site = folder / "site.yaml"
        if not self.site.exists():
            self.site.write_text(yaml.safe_dump(_ONE_RANK), "utf-8")

    @property
    def results(self) -> Path:
        """Return the results of the configuration named `small`."""
        return self.folder / "results" / "small"

    def snakemake(self, configuration: Mapping[str, Any] | Path | list[Path], *arguments: str | Path) -> Finished:
        """Run Snakemake with a configuration, as a map or in files, and what else stands on its command line."""
        return run(
            self.command(configuration, *arguments), self.folder, {"DNATUNE_SITE": str(self.site), "PYTHONPATH": ""}
        )

    def peak_kilobytes(self, configuration: Mapping[str, Any] | Path | list[Path], *arguments: str | Path) -> int:
        """Run Snakemake and return the largest resident memory of it or of a process that it started."""
        # From a small process of its own: a child's figure begins with that of the process which started it.
        measure = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, "
            "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        command = [PYTHON, "-c", measure, *self.command(configuration, *arguments)]
        done = run(command, self.folder, {"DNATUNE_SITE": str(self.site), "PYTHONPATH": ""})
        assert done.code == 0, done.output
        return int(done.output)

    def command(self, configuration: Mapping[str, Any] | Path | list[Path], *arguments: str | Path) -> list[str | Path]:
        """Write the configuration down and return the command that runs it."""
        files = configuration if isinstance(configuration, list) else [configuration]
        if not isinstance(files[0], Path):
            written = self.folder / "config.yaml"
            written.write_text(yaml.safe_dump(dict(configuration), sort_keys=False, allow_unicode=True), "utf-8")
            files = [written]
        return [
            *(self.python, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", self.folder),
            *("--configfile", *files, "--cores", "2", "--nocolor", *arguments),
        ]

    def complete(self, configuration: Mapping[str, Any] | Path | list[Path], *arguments: str | Path) -> Finished:
        """Run Snakemake and insist on success; a failure shows the end of every log."""
        done = self.snakemake(configuration, *arguments)
        assert done.code == 0, "\n\n".join([done.output, *self._log_tails()])
        return done

    def plan(self, configuration: Mapping[str, Any] | Path, *arguments: str | Path) -> Plan:
        """Return what a dry run says would be done."""
        done = self.complete(configuration, "--dry-run", *arguments)
        return read_plan(done.output)

    def log(self, place: str) -> str:
        """Return the log of one job, named as its file below logs/."""
        return (self.folder / "logs" / f"{place}.log").read_text("utf-8")

    def _log_tails(self) -> list[str]:
        files = sorted((self.folder / "logs").rglob("*.log"))
        return [f"== {file.relative_to(self.folder)}\n{file.read_text('utf-8', 'replace')[-2000:]}" for file in files]


def copied(origin: Path, folder: Path) -> Workplace:
    """Return a copy of the folder of a finished run, to go on from."""
    # Times and Snakemake's own records come along, so that the copy is as finished as the original.
    shutil.copytree(origin, folder)
    return Workplace(folder)


def read_plan(output: str) -> Plan:
    """Read the output of a dry run; its table of job counts and its list of jobs must agree.

    Raises:
        AssertionError: they do not, or neither is there and "Nothing to be done" is not said.
    """
    if "Nothing to be done" in output:
        return Plan({}, ())
    table = re.search(r"^Job stats:\njob +count\n[- ]+\n(.*?)^total +(\d+)$", output, re.DOTALL | re.MULTILINE)
    assert table, f"no table of jobs in:\n{output}"
    counts = {name: int(count) for name, count in (line.split() for line in table[1].splitlines())}
    assert sum(counts.values()) == int(table[2])
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", output, re.MULTILINE)
    assert Counter(name for name, _ in jobs) == counts
    outputs = [
        path for _, body in jobs for line in re.findall(r"^    output: (.*)$", body, re.M) for path in line.split(", ")
    ]
    counts.pop("all", None)
    return Plan(counts, tuple(sorted(outputs)))


def files_below(folder: Path) -> list[str]:
    """Return the relative paths of all files below a folder, hidden ones too; none where there is no folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
